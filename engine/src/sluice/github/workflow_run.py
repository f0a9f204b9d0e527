"""The workflow run of a step, from the variables of GitHub Actions: number, pull request, results of jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sluice.core.errors import SluiceError

Run = tuple[int, int]
_EXAMPLE = "give the step env: NEEDS: ${{ toJSON(needs) }}"


def this_run(environment: Mapping[str, str]) -> Run:
    """Number of the run and of its attempt; later ones are greater."""
    return int(environment.get("GITHUB_RUN_ID") or 0), int(environment.get("GITHUB_RUN_ATTEMPT") or 1)


def run_url(environment: Mapping[str, str]) -> str:
    """The page of the run; empty outside of GitHub Actions."""
    server, repository = environment.get("GITHUB_SERVER_URL"), environment.get("GITHUB_REPOSITORY")
    number, attempt = this_run(environment)
    return f"{server}/{repository}/actions/runs/{number}/attempts/{attempt}" if server and repository else ""


def jobs_of(needs: str) -> dict[str, dict[str, Any]]:
    """The jobs that a job waited for, of the JSON of its context `needs`: {result, outputs} by name.

    SluiceError when the text is not that, or names none.
    """
    try:
        found: Any = json.loads(needs)
    except ValueError as error:
        raise SluiceError(f"NEEDS: {error}", remedy=_EXAMPLE) from None
    if not isinstance(found, dict) or not all(isinstance(job, dict) for job in found.values()):
        raise SluiceError("NEEDS: not an object of jobs", remedy=_EXAMPLE)
    if not found:
        raise SluiceError("NEEDS: no job", remedy="name the jobs under `needs:`")
    return found
