"""What `sluice doctor github` looks at for hosted models: the environment that holds their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sluice.extras.doctor.check import Diagnosis, DiagnosisScope, passed
from sluice.extras.doctor.github_environments import environment
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
        what = f"environment {ENVIRONMENT}"
        yield what, f"gh api repos/{repository}/environments", partial(environment, repository, branch, ENVIRONMENT)
        mend = f"gh secret set {KEYS} --env {ENVIRONMENT}   # a line NAME=key for each key_env of config/providers.yaml"
        yield f"secret {KEYS} of {ENVIRONMENT}", mend, lambda ask: _secret(ask, mend)


def _secret(ask: Ask, mend: str) -> Iterator[Diagnosis]:
    there = {one["name"] for one in ask(f"/environments/{ENVIRONMENT}/secrets?per_page=100")["secrets"]}
    what = f"secret {KEYS} of {ENVIRONMENT}"
    yield passed(what, "set") if KEYS in there else Diagnosis(what, "missing", "not set", mend)
