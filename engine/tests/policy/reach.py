"""A walk over all that a pull request can start: its workflows, those that they call, and composite actions.

Nothing on the way may hold a secret, ask for an identity, run on a machine of one's own or write, but for the one
comment of the comparison. The walk believes no `if`, and refuses what it cannot follow.
"""

import re
from collections.abc import Iterator
from typing import Any

from policy.files import File, Repository, expressions

HOSTED = re.compile(r"ubuntu-(latest|\d\d\.\d\d(-arm)?)|windows-(latest|\d{4}|11-arm)|macos-(latest|\d+)(-\w+)?")
# Where a walk begins -> what may be written from there: the comment of the comparison, and that it is outdated.
WRITES = {"ci.yml eval": {"pull-requests"}, "ci.yml plan": {"pull-requests"}}
_SECRETS = re.compile(r"(?<![\w.-])secrets(?![\w-])", re.IGNORECASE)


def faults_of_reach(repository: Repository) -> list[str]:
    walk = _Walk(repository)
    found = []
    for file in repository.workflows:
        if "pull_request" in file.triggers:
            found += list(walk.workflow(file, ()))
    return list(dict.fromkeys(found))


class _Walk:
    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def workflow(self, file: File, trail: tuple[str, ...], calling: tuple[str, ...] = ()) -> Iterator[str]:
        """`trail`: how the walk came here, in words; `calling`: the files on the way, against going round."""
        if file.path in calling:
            yield _fault((*trail, file.name), "calls itself")
            return
        around = {key: value for key, value in file.document.items() if key != "jobs"}
        yield from _secrets(around, (*trail, file.name))
        for name, job in file.jobs.items():
            here = (*trail, f"{file.name} {name}")
            yield from _secrets(job, here)
            yield from _permissions(job.get("permissions", file.document.get("permissions")), here)
            if "environment" in job:
                yield _fault(here, "an environment, which has secrets of its own")
            if "uses" in job:
                yield from self._call(job, here, (*calling, file.path))
            else:
                yield from _runner(job.get("runs-on"), here)
                yield from self._steps(job.get("steps") or [], here, ())

    def _call(self, job: dict[str, Any], here: tuple[str, ...], calling: tuple[str, ...]) -> Iterator[str]:
        if "secrets" in job:
            yield _fault(here, "gives secrets to the workflow that it calls")
        called = self._repository.workflow(str(job["uses"])) if str(job["uses"]).startswith("./") else None
        if called is None:
            yield _fault(here, f"calls what cannot be followed: {job['uses']}")
        elif "workflow_call" not in called.triggers:
            yield _fault(here, f"calls {called.name}, which is not for calls")
        else:
            if ((called.triggers["workflow_call"] or {}).get("secrets")) is not None:
                yield _fault((*here, called.name), "asks its caller for secrets")
            yield from self.workflow(called, here, calling)

    def _steps(self, steps: list[dict[str, Any]], here: tuple[str, ...], inside: tuple[str, ...]) -> Iterator[str]:
        """Actions of others get nothing that is not in `with` and `env`."""
        for step in steps:
            uses = str(step.get("uses", ""))
            if not uses.startswith((".", "$")):
                continue
            action = self._repository.action(uses) if uses.startswith("./") else None
            if action is None or action.path in inside:
                yield _fault(here, f"uses what cannot be followed: {uses}")
                continue
            there = (*here, action.name)
            runs = action.document.get("runs") or {}
            if runs.get("using") != "composite":
                yield _fault(there, f"an action that cannot be read: using {runs.get('using')}")
                continue
            yield from _secrets(action.document, there)
            yield from self._steps(runs.get("steps") or [], there, (*inside, action.path))


def _fault(trail: tuple[str, ...], what: str) -> str:
    return f"{' > '.join(trail)}: {what}"


def _secrets(value: Any, here: tuple[str, ...]) -> Iterator[str]:
    """`github.token` is none: from a fork it may only read, and `permissions` lists its rights."""
    for expression in expressions(value):
        if _SECRETS.search(expression):
            yield _fault(here, f"reaches a secret: {' '.join(expression.split())}")


def _permissions(granted: Any, here: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(granted, dict):
        yield _fault(here, f"its rights are not listed: {granted or 'those of the repository'}")
        return
    allowed = WRITES.get(here[0], set())
    for scope, level in granted.items():
        if level == "write" and scope == "id-token":
            yield _fault(here, "asks for an identity: id-token: write")
        elif level not in ("read", "none") and scope not in allowed:
            yield _fault(here, f"may write: {scope}: {level}")


def _runner(runner: Any, here: tuple[str, ...]) -> Iterator[str]:
    labels = runner if isinstance(runner, list) else [runner]
    for label in labels:
        if not isinstance(label, str) or not HOSTED.fullmatch(label):
            yield _fault(here, f"runs on a machine that is not known as GitHub's: {label}")
