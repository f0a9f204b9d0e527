"""Changes that fix a repository on GitHub: shown as commands of `gh api`, and made one by one.

Each is asked for only where it is missing, so a run that was cut off or refused half-way may be repeated.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.extras.doctor.check import Diagnosis
from sluice.github.github_client import GitHubStatusError, open_repository, refusals

# What GitHub answers a token without the right: it says so, or that there is no such thing.
_WITHOUT_RIGHT = (403, 404)


@dataclass(frozen=True)
class GitHubChange:
    """One request. `path` is below the repository; `body` is JSON, and `source` the file that it is read from, if it
    is; `right`: the one that a fine-grained token needs for it, to write."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    source: str = ""
    right: str = "Administration"

    def command(self, repository: str) -> str:
        """The same as a command of `gh`."""
        fields = ["--input", self.source] if self.source else _fields(self.body or {})
        return shlex.join(["gh", "api", "-X", self.method, f"repos/{repository}{self.path}", *fields])


def fixable(what: str, found: str, repository: str, *changes: GitHubChange) -> Diagnosis:
    """A diagnosis of what is missing, with the changes that fix it."""
    fix = " && ".join(change.command(repository) for change in changes)
    return Diagnosis(what, "missing", found, fix, changes)


def apply(repository: str, found: Iterable[Diagnosis], environment: Mapping[str, str]) -> Iterator[str]:
    """Makes the changes of each diagnosis; what comes after one that is refused waits for the next run."""
    with open_repository({**environment, "GITHUB_REPOSITORY": repository}) as there:
        for one in found:
            for change in one.changes:
                try:
                    with refusals():
                        url = f"/repos/{repository}{change.path}"
                        there.requester.requestJsonAndCheck(change.method, url, input=change.body)
                except GitHubStatusError as error:
                    needs = f"; the token needs the right `{change.right}: write`" * (error.status in _WITHOUT_RIGHT)
                    yield f"REFUSED  {one.what}: {error.message}{needs}"
                    break
                yield f"changed  {one.what}: {change.command(repository)}"


def variables(ask: Any, repository: str, wanted: Sequence[str], known: Sequence[str]) -> Iterator[Diagnosis]:
    """What sets variables of the repository or of its environments."""
    for text in wanted:
        place, equals, value = text.partition("=")
        environment, _, name = place.rpartition("/")
        if not equals or not value:
            raise SluiceError(f"--set {text}: no value", remedy="write NAME=VALUE, or ENVIRONMENT/NAME=VALUE")
        if name not in known:
            raise SluiceError(f"--set {text}: no workflow reads {name}{nearest(name, list(known))}")
        path = f"/environments/{environment}/variables" if environment else "/actions/variables"
        right = "Environments" if environment else "Variables"
        what, body = f"variable {name}" + f" of {environment}" * bool(environment), {"name": name, "value": value}
        try:
            there = ask(f"{path}/{name}")["value"]
        except GitHubStatusError as error:
            if error.status != 404:
                raise
            yield fixable(what, "not set", repository, GitHubChange("POST", path, body, right=right))
            continue
        if there != value:
            yield fixable(what, there, repository, GitHubChange("PATCH", f"{path}/{name}", body, right=right))


def _fields(body: Mapping[str, Any]) -> list[str]:
    """Options of `gh api`: `-f` for a string, `-F` for what is of another type."""
    pairs = chain.from_iterable(_flat(name, value) for name, value in body.items())
    return [
        word
        for name, value in pairs
        for word in (("-f", f"{name}={value}") if isinstance(value, str) else ("-F", f"{name}={_literal(value)}"))
    ]


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}[{key}]", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _flat(f"{name}[]", inner)
    else:
        yield name, value


def _literal(value: Any) -> str:
    return {True: "true", False: "false", None: "null"}[value] if value in (True, False, None) else str(value)
