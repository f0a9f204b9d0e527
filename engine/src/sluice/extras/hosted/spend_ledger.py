"""The money that hosted models have cost for pull requests, as artifacts of the runs that asked.

`spend-reserved-N` is made before attempt N asks, `spend-used-N` after. The job's concurrency group serialises
them. A run that dies between the two has spent what it had reserved. What isn't known counts as the limit. Who may
delete runs of the workflow can delete what they spent: the limit that holds is the provider's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sluice.extras.hosted.actions_runs import MainRuns, read_file
from sluice.extras.hosted.request_file import HostedLimits, RefusedRequestsError
from sluice.github.workflow_run import this_run

if TYPE_CHECKING:
    from github.WorkflowRun import WorkflowRun

SPEND = "spend.json"
RESERVING = "Reserve the money"  # name of the step that uploads `spend-reserved-N`
_LONGEST_WAIT = timedelta(hours=6)  # of a run that was started the day before


@dataclass(frozen=True)
class Spend:
    """The dollars that a ci run's requests cost, or may cost. `change`: its repository and branch; `day`: in UTC."""

    run: int
    change: str
    dollars: float
    day: str = ""  # an entry of an older version: today's


def read_ledger(main: MainRuns, now: datetime, environment: Mapping[str, str]) -> list[Spend]:
    """Return today's entries without this attempt's own."""
    here, midnight = this_run(environment), now.replace(hour=0, minute=0, second=0, microsecond=0)
    runs = [*main.since(midnight - _LONGEST_WAIT)]
    if here[0] not in [run.id for run in runs]:  # what it spends would not be found either
        what = "answer-requests was started on another day"
        raise RefusedRequestsError(what, remedy="start it by hand instead of re-running an old run")
    found = ((run, attempt) for run in runs for attempt in _that_reserved(run))
    entries = [_entry(run, attempt, environment) for run, attempt in found if (run.id, attempt) != here]
    return [entry for entry in entries if entry.day in ("", now.date().isoformat())]


def _that_reserved(run: WorkflowRun) -> list[int]:
    if run.conclusion == "skipped":
        return []
    steps = ((job.run_attempt, step) for job in run.jobs("all") for step in job.steps)
    return [attempt for attempt, step in steps if step.name == RESERVING and step.conclusion == "success"]


def _entry(run: WorkflowRun, attempt: int, environment: Mapping[str, str]) -> Spend:
    raw = read_file(run, f"spend-used-{attempt}", SPEND, environment)
    raw = raw or read_file(run, f"spend-reserved-{attempt}", SPEND, environment)
    try:
        entry = Spend(**json.loads(raw or b""))
        if not (math.isfinite(entry.dollars) and entry.dollars >= 0):
            raise ValueError("not an amount")
    except (ValueError, TypeError):
        what = f"what run {run.id} of answer-requests has spent is not known: its {SPEND} is not an entry"
        raise RefusedRequestsError(
            what, remedy="look at its artifacts; start answer-requests by hand tomorrow"
        ) from None
    return entry


def require_budget(wanted: Spend, limits: HostedLimits, today: Sequence[Spend]) -> None:
    of_change = sum(spend.dollars for spend in today if spend.change == wanted.change)
    for name, spent, most in (
        ("dollars_per_change", of_change, limits.dollars_per_change),
        ("dollars_per_day", sum(spend.dollars for spend in today), limits.dollars_per_day),
    ):
        if spent + wanted.dollars > most:
            what = f"{wanted.dollars:.2f} dollars at most, and {spent:.2f} were spent today, of {most:.2f}"
            remedy = f"start answer-requests by hand tomorrow, or raise `{name}` in config/hosted.yaml of main"
            raise RefusedRequestsError(what, remedy=remedy)
