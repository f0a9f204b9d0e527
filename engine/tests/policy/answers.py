"""The one exception: `answer-requests.yml`, which the end of a pull request's run starts, beside the keys of hosted
models. It may do what it is for and nothing else, so that nothing of the pull request is ever run there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from policy.files import File, Repository, expressions

NAME = "answer-requests.yml"
ENVIRONMENT = "evaluation"
KEY = "PROVIDER_KEYS"
_STARTED_BY = {"workflow_run": {"workflows": ["ci"], "types": ["completed"]}}
_RIGHTS = {"contents": "read", "actions": "write"}
_ASK = ".venv/bin/sluice answers ask"
_GIVEN = f"${{{{ secrets.{KEY} }}}}"
_CHECKED = "steps.check.outputs.state == 'ask'"
# Who the run is of, and nothing that a pull request can write.
_EVENT = {"github.event.workflow_run.id", "github.event.workflow_run.event", "github.event.workflow_run.conclusion"}
_USES = ("./.github/actions/setup", "actions/checkout@", "actions/cache@", "actions/upload-artifact@")
_PATHS = {"actions/cache": ".sluice/responses", "actions/upload-artifact": "build/answers/"}


def faults_of_answers(repository: Repository) -> list[str]:
    found = []
    for file in repository.workflows:
        if file.name == NAME:
            found += [f"{NAME}: {what}" for what in _file(file)]
        for name, job in file.jobs.items():
            held = any(re.search(rf"\b{KEY}\b", one) for one in expressions(job))
            if held and job.get("environment") != ENVIRONMENT:
                found.append(f"{file.name} {name}: {KEY} outside the environment {ENVIRONMENT}")
    return found


def _file(file: File) -> Iterator[str]:
    triggers = dict(file.triggers)
    triggers.pop("workflow_dispatch", None)
    if triggers != _STARTED_BY:
        yield "is started by something else than the end of ci, or a person"
    concurrency = file.document.get("concurrency") or {}
    if concurrency.get("queue") != "max" or "${{" in str(concurrency.get("group")):
        yield "its runs are not one after the other, so they do not see what was spent"
    for expression in expressions(file.document):
        for named in re.findall(r"\bgithub\.event\.[\w.]+|\bgithub\.(?:head_ref|ref_name|actor)\b", expression):
            if named not in _EVENT:
                yield f"reads what others write: {named}"
    for name, job in file.jobs.items():
        if job.get("environment") != ENVIRONMENT:
            yield f"{name} is not in the environment {ENVIRONMENT}"
        if not (job.get("permissions") or {}).items() <= _RIGHTS.items():
            yield f"{name} may do more than check out and run a job again"
        if any("secrets" in one for key, part in job.items() if key != "steps" for one in expressions(part)):
            yield f"{name} gives a secret to all its steps"
        for step in job.get("steps") or []:
            yield from _step(step)


def _step(step: dict[str, Any]) -> Iterator[str]:
    run, uses, given = str(step.get("run", "")).strip(), str(step.get("uses", "")), step.get("with") or {}
    if run and not run.startswith(".venv/bin/sluice answers "):
        yield f"runs something else than `sluice answers`: {run}"
    if uses and not uses.startswith(_USES):
        yield f"uses something that it does not need: {uses.partition('@')[0]}"
    if uses.startswith("actions/checkout@") and set(given) != {"persist-credentials"}:
        yield "checks out something else than main"
    for action, path in _PATHS.items():
        if uses.startswith(f"{action}@") and not str(given.get("path", "")).startswith(path):
            yield f"keeps something else than answers: {given.get('path')}"
    secrets = [one for one in expressions(step) if re.search(r"(?<![\w.-])secrets(?![\w-])", one)]
    if run == _ASK:
        extra = {name for name, value in (step.get("env") or {}).items() if (name, value) != (KEY, _GIVEN)}
        for name in sorted(extra):
            yield f"`sluice answers ask` has something else than the keys: {name}"
        if step.get("if") != _CHECKED:
            yield "asks what was not checked"
    elif secrets:
        yield "gives a secret to another step than `sluice answers ask`"
