"""What `sluice doctor github` looks at for hosted models: the environment that holds their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sluice.extras.doctor.check import Diagnosis, DiagnosisScope, passed
from sluice.llm.model_files import Models
from sluice.llm.settings import KEYS, RemoteSpec, load_providers

ENVIRONMENT = "evaluation"
Ask = Callable[[str], Any]


def secrets() -> dict[str, str]:
    """Secrets of the workflows that the repository itself need not have."""
    return {KEYS: f"hosted models; it belongs into the environment `{ENVIRONMENT}`"}


def checks(
    scope: DiagnosisScope, repository: str, branch: str
) -> Iterator[tuple[str, str, Callable[[Ask], Iterator[Diagnosis]]]]:
    """What is looked at, the command that mends it, and the function that looks.

    Args:
        scope: where is looked.
        repository: owner/name.
        branch: the default one.
    """
    path = scope.root / "config" / "providers.yaml"
    if not path.is_file():
        return
    providers = load_providers(path, roles=Models.roles())
    hosted = [one for one in (*providers.chat, *providers.judge) if isinstance(one, RemoteSpec) and one.key_env]
    if hosted:
        made = f"gh api -X PUT repos/{repository}/environments/{ENVIRONMENT}"
        yield f"environment {ENVIRONMENT}", made, lambda ask: _environment(ask, branch, made, repository)
        mend = f"gh secret set {KEYS} --env {ENVIRONMENT}   # a line NAME=key for each key_env of config/providers.yaml"
        yield f"secret {KEYS} of {ENVIRONMENT}", mend, lambda ask: _secret(ask, mend)


def _environment(ask: Ask, branch: str, made: str, repository: str) -> Iterator[Diagnosis]:
    what = f"environment {ENVIRONMENT}"
    listed = {one["name"]: one for one in ask("/environments?per_page=100")["environments"]}
    limits = f"{made} -F 'deployment_branch_policy[protected_branches]=false'"
    limits += " -F 'deployment_branch_policy[custom_branch_policies]=true'"
    place = f"/environments/{ENVIRONMENT}/deployment-branch-policies"
    limits += f" && gh api -X POST repos/{repository}{place} -f name={branch}"
    if ENVIRONMENT not in listed:
        yield Diagnosis(what, "missing", "a pull request that asks a hosted model is never answered", limits)
        return
    policy = listed[ENVIRONMENT].get("deployment_branch_policy") or {}
    names = policy.get("custom_branch_policies") and [one["name"] for one in ask(place)["branch_policies"]]
    if names == [branch]:
        yield passed(what, f"{branch} alone")
    else:
        yield Diagnosis(what, "missing", f"branches other than {branch} may read its key", limits)


def _secret(ask: Ask, mend: str) -> Iterator[Diagnosis]:
    there = {one["name"] for one in ask(f"/environments/{ENVIRONMENT}/secrets?per_page=100")["secrets"]}
    what = f"secret {KEYS} of {ENVIRONMENT}"
    yield passed(what, "set") if KEYS in there else Diagnosis(what, "missing", "not set", mend)
