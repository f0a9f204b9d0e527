"""The environment on GitHub that holds the token of upgrades, for `sluice doctor github`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sluice.extras.doctor.check import Diagnosis, DiagnosisScope
from sluice.extras.doctor.github_changes import environment

ENVIRONMENT = "upgrade"


def checks(
    scope: DiagnosisScope, repository: str, branch: str
) -> Iterator[tuple[str, str, Callable[[Any], Iterator[Diagnosis]]]]:
    if (scope.root / ".github" / "workflows" / "upgrade-template.yml").is_file():
        look = partial(environment, repository, branch, ENVIRONMENT)
        yield f"environment {ENVIRONMENT}", f"gh api repos/{repository}/environments", look
