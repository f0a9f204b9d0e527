"""The one exception: `answer-requests.yml`, which the end of a pull request's run starts, beside the keys of hosted
models. It may do what it is for and nothing else, so that nothing of the pull request is ever run there."""

import re
from collections.abc import Iterator
from typing import Any

from policy.files import File, Repository, expressions

NAME = "answer-requests.yml"
ENVIRONMENT = "evaluation"
KEY = "PROVIDER_KEYS"
ROLE = "AWS_EVALUATION_ROLE_ARN"
_STARTED_BY = {"workflow_run": {"workflows": ["ci"], "types": ["completed"]}}
_READS = {"contents": "read", "actions": "read"}
_RIGHTS = _READS | {"pull-requests": "read", "actions": "write", "id-token": "write"}  # pragma: allowlist secret
_ASK = ".venv/bin/sluice answers ask"
_CHECKED = "steps.check.outputs.state == 'ask'"
_SIGN_IN = "aws-actions/configure-aws-credentials@"
# Only the step that asks gets what the role is taken with.
_SIGNED_IN = {
    "role-to-assume": f"${{{{ vars.{ROLE} }}}}",
    "aws-region": "${{ vars.AWS_REGION }}",
    "output-credentials": True,
    "output-env-credentials": False,
}
_GIVEN = {KEY: f"${{{{ secrets.{KEY} }}}}"} | {
    f"AWS_{name}": f"${{{{ steps.aws.outputs.aws-{name.lower().replace('_', '-')} }}}}"
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")
}
_HELD = {"a secret": re.compile(r"(?<![\w.-])secrets(?![\w-])"), "its role": re.compile(r"\bsteps\.aws\.")}
# Who the run is of, and nothing that a pull request can write.
_EVENT = {f"github.event.workflow_run.{name}" for name in ("id", "event", "conclusion", "run_attempt")}
_PATHS = {"actions/upload-artifact": "build/answers/"}
_PATHS |= dict.fromkeys(("actions/cache/restore", "actions/cache/save"), ".sluice/responses")
_USES = ("./.github/actions/setup", "actions/checkout@", *(f"{action}@" for action in _PATHS), _SIGN_IN)


def faults_of_answers(repository: Repository) -> list[str]:
    found = []
    for file in repository.workflows:
        if file.name == NAME:
            found += [f"{NAME}: {what}" for what in _file(file)]
        for name, job in file.jobs.items():
            held = any(re.search(rf"\b{KEY}\b", one) for one in expressions(job))
            if held and _environment(job) != ENVIRONMENT:
                found.append(f"{file.name} {name}: {KEY} outside the environment {ENVIRONMENT}")
    return found


def _file(file: File) -> Iterator[str]:
    triggers = dict(file.triggers)
    triggers.pop("workflow_dispatch", None)
    if triggers != _STARTED_BY:
        yield "is started by something else than the end of ci, or a person"
    for expression in expressions(file.document):
        for named in re.findall(r"\bgithub\.event\.[\w.]+|\bgithub\.(?:head_ref|ref_name|actor)\b", expression):
            if named not in _EVENT:
                yield f"reads what others write: {named}"
    for name, job in file.jobs.items():
        group = job.get("concurrency") or {}
        alone = group.get("queue") == "max" and group.get("cancel-in-progress") is False
        if "environment" in job and (not alone or "${{" in str(group.get("group"))):
            yield f"{name} is not one after the other, so it does not see what was spent"
        rights = (job.get("permissions") or {}).items()
        if _environment(job) != ENVIRONMENT and not rights <= _READS.items():
            yield f"{name} is not in the environment {ENVIRONMENT}"
        if not rights <= _RIGHTS.items() | _READS.items():
            yield f"{name} may do more than check out, sign in and run a job again"
        for what in _held({key: part for key, part in job.items() if key != "steps"}):
            yield f"{name} gives {what} to all its steps, or to others"
        for step in job.get("steps") or []:
            yield from _step(step)


def _environment(job: dict[str, Any]) -> Any:
    place = job.get("environment")
    return place["name"] if isinstance(place, dict) else place


def _step(step: dict[str, Any]) -> Iterator[str]:
    run, uses, given = str(step.get("run", "")).strip(), str(step.get("uses", "")), step.get("with") or {}
    if (
        run
        and run != "make engine"
        and not run.startswith((".venv/bin/sluice answers ", "python3 engine/scripts/ci.py "))
    ):
        yield f"runs something else than `sluice answers`: {run}"
    if uses and not uses.startswith(_USES):
        yield f"uses something that it does not need: {uses.partition('@')[0]}"
    if uses.startswith("actions/checkout@") and set(given) != {"persist-credentials"}:
        yield "checks out something else than main"
    if uses.startswith("./") and given.get("cache") != "false":
        yield "runs packages out of a cache"
    for action, path in _PATHS.items():
        if uses.startswith(f"{action}@") and not str(given.get("path", "")).startswith(path):
            yield f"keeps something else than answers: {given.get('path')}"
    if uses.startswith(_SIGN_IN):
        if (role := str(given.get("role-to-assume"))) != _SIGNED_IN["role-to-assume"]:
            yield f"signs in as somebody else: {role}"
        elif given != _SIGNED_IN or step.get("id") != "aws":
            yield "signs in for more than the step that asks"
        if step.get("if") != f"{_CHECKED} && vars.{ROLE} != ''":
            yield "signs in for what was not checked"
    elif step.get("id") == "aws":
        yield "something else is named as the sign-in"
    if run == _ASK:
        extra = {name for name, value in (step.get("env") or {}).items() if _GIVEN.get(name) != value}
        for name in sorted(extra):
            yield f"`sluice answers ask` has something else than the keys: {name}"
        if step.get("if") != _CHECKED:
            yield "asks what was not checked"
    else:
        for what in _held(step):
            yield f"gives {what} to another step than `sluice answers ask`"


def _held(part: Any) -> list[str]:
    return [what for what, named in _HELD.items() if any(named.search(one) for one in expressions(part))]
