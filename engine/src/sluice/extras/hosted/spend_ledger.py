"""What answers have cost, kept as artifacts of the runs that asked: `spend-reserved` before, `spend-used` after,
with the number of the attempt behind it.

The runs are serialised by the concurrency group of answer-requests.yml, so that each sees what those before it have
spent. A run that dies between the two has spent what it had reserved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sluice.core.errors import SluiceError
from sluice.extras.hosted.limits import HostedLimits
from sluice.extras.hosted.published import WaitingRun, read_file, runs_of_main
from sluice.extras.hosted.request_file import RefusedRequestsError
from sluice.github.workflow_run import this_run

if TYPE_CHECKING:
    from github.Repository import Repository

FILE = "spend.json"
RESERVED, USED = "spend-reserved", "spend-used"


@dataclass(frozen=True)
class Spend:
    """An entry: dollars that the requests of a run of ci have cost, or may cost."""

    run: int
    change: str
    dollars: float


def read_ledger(
    repository: Repository, since: datetime, environment: Mapping[str, str]
) -> list[tuple[datetime, Spend]]:
    """The entries since a time, each with the time of its run; without that of this attempt."""
    entries, here = [], this_run(environment)
    for run in runs_of_main(repository, since):
        for attempt in range(1, run.run_attempt + 1) if run.conclusion != "skipped" else ():
            if (run.id, attempt) == here:
                continue
            raw = read_file(run, f"{USED}-{attempt}", FILE, environment)
            raw = raw or read_file(run, f"{RESERVED}-{attempt}", FILE, environment)
            if raw is not None:
                try:
                    entries.append((run.created_at, Spend(**json.loads(raw))))
                except (ValueError, TypeError):
                    raise SluiceError(f"run {run.id}: {FILE} is not an entry", remedy="look at its artifact") from None
    return entries


def require_budget(
    waiting: WaitingRun, dollars: float, limits: HostedLimits, entries: list[tuple[datetime, Spend]], now: datetime
) -> None:
    """Refuses what the limits of rounds and money do not allow."""
    rounds = sum(spend.run == waiting.number for _, spend in entries)
    if rounds >= limits.rounds:
        remedy = "push again, or raise `rounds` in config/hosted.yaml of main"
        raise RefusedRequestsError(f"the run was answered {rounds} times, as often as allowed", remedy=remedy)
    today = [spend for at, spend in entries if at.astimezone(UTC).date() == now.date()]
    of_change = sum(spend.dollars for spend in today if spend.change == waiting.change)
    for name, spent, most in (
        ("dollars_per_change", of_change, limits.dollars_per_change),
        ("dollars_per_day", sum(spend.dollars for spend in today), limits.dollars_per_day),
    ):
        if spent + dollars > most:
            what = f"{dollars:.2f} dollars at most, and {spent:.2f} were spent today, of {most:.2f}"
            remedy = f"start answer-requests by hand tomorrow, or raise `{name}` in config/hosted.yaml of main"
            raise RefusedRequestsError(what, remedy=remedy)
