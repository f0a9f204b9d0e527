"""The pull request of a run, from the variables of GitHub Actions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.github.workflow_run import this_run


@dataclass(frozen=True)
class PullRequest:
    """`repository` as owner/name; `run`: number of the run and of its attempt, later ones are greater."""

    repository: str
    number: int
    run: tuple[int, int]


def find_pull_request(environment: Mapping[str, str]) -> PullRequest | None:
    """None when the run is of something else, such as a push. A file that is missing or broken is an error."""
    path = Path(_need(environment, "GITHUB_EVENT_PATH"))
    try:
        event: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SluiceError(f"GITHUB_EVENT_PATH: {path}: {error}") from None
    number = _number(event) if isinstance(event, dict) else None
    if number is None:
        return None
    return PullRequest(_need(environment, "GITHUB_REPOSITORY"), number, this_run(environment))


def _number(event: dict[str, Any]) -> int | None:
    found = event.get("pull_request")
    issue = event.get("issue")
    if not found and isinstance(issue, dict) and issue.get("pull_request"):  # a comment on a pull request
        found = issue
    number = found.get("number") if isinstance(found, dict) else None
    return number if isinstance(number, int) and number > 0 else None


def _need(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise SluiceError(f"{name} is not set", remedy="GitHub Actions sets it; run this in a workflow")
    return value
