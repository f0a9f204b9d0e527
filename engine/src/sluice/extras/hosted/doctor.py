"""Checks of `sluice doctor` for the environment that holds the keys of hosted models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sluice.extras.doctor.aws import trust, ways_in
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope, passed
from sluice.extras.doctor.github import repository_of
from sluice.extras.doctor.github_changes import environment
from sluice.llm.model_files import Models
from sluice.llm.settings import KEYS, AwsSpec, RemoteSpec, load_providers

ENVIRONMENT = "evaluation"
ROLE = "AWS_EVALUATION_ROLE_ARN"
Ask = Callable[[str], Any]


def secrets() -> dict[str, str]:
    """Return secrets and variables of the workflows that the repository itself doesn't need."""
    return {
        KEYS: f"hosted models; it belongs into the environment `{ENVIRONMENT}`",
        ROLE: "models on AWS that are asked without a key",
        "PENDING_ANSWERS": "`on`: what waits for answers is pending instead of red",
    }


def checks(
    scope: DiagnosisScope, repository: str, branch: str
) -> Iterator[tuple[str, str, Callable[[Ask], Iterator[Diagnosis]]]]:
    """Yield what is checked, the command that fixes it, and the check."""
    hosted = _hosted(scope)
    keyed = [one for one in hosted if one.key_env]
    if hosted:
        what = f"environment {ENVIRONMENT}"
        yield what, f"gh api repos/{repository}/environments", partial(environment, repository, branch, ENVIRONMENT)
    if keyed:
        fix = f"gh secret set {KEYS} --env {ENVIRONMENT}   # a line NAME=key for each key_env of config/providers.yaml"
        yield f"secret {KEYS} of {ENVIRONMENT}", fix, lambda ask: _held(ask, "secret", KEYS, fix)
    if len(keyed) < len(hosted):
        own = f"gh variable set {ROLE} --env {ENVIRONMENT}   # output EvaluationRole of engine/aws/bootstrap.yaml"
        yield f"variable {ROLE} of {ENVIRONMENT}", own, lambda ask: _held(ask, "variable", ROLE, own)


def account_checks(
    scope: DiagnosisScope, client: Callable[[str], Any], stack: str
) -> Iterator[tuple[str, Callable[[], Diagnosis]]]:
    """Yield the check of the role that models on AWS are asked with."""
    if any(not one.key_env for one in _hosted(scope)):
        role = f"{scope.names.name}-evaluation"
        ways = ways_in(scope, repository_of(scope) or scope.names.repository, [f"environment:{ENVIRONMENT}"])
        yield f"role {role}", lambda: trust(client("iam"), role, ways, stack)


def _hosted(scope: DiagnosisScope) -> list[RemoteSpec]:
    """Return the models that need a key, or a role on AWS."""
    path = scope.root / "config" / "providers.yaml"
    if not path.is_file():
        return []
    providers = load_providers(path, roles=Models.roles())
    remote = [one for one in (*providers.chat, *providers.judge) if isinstance(one, RemoteSpec)]
    return [one for one in remote if one.key_env or isinstance(one, AwsSpec)]


def _held(ask: Ask, kind: str, name: str, fix: str) -> Iterator[Diagnosis]:
    there = {one["name"] for one in ask(f"/environments/{ENVIRONMENT}/{kind}s?per_page=100")[f"{kind}s"]}
    what = f"{kind} {name} of {ENVIRONMENT}"
    yield passed(what, "set") if name in there else Diagnosis(what, "missing", "not set", fix)
