"""The required check: whether all planned jobs succeeded.

GitHub counts a skipped job as a success. Here a skipped job passes only if the plan omitted it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluice.core.errors import SluiceError
from sluice.github.job_plan import JOBS
from sluice.github.markdown_table import table
from sluice.github.workflow_run import jobs_of

PLAN = "plan"


@dataclass(frozen=True)
class JobOutcome:
    """`fault` is empty when the job passes."""

    job: str
    result: str
    fault: str = ""


def judge(needs: str) -> list[JobOutcome]:
    """One outcome for each job, of the JSON of the context `needs` of a job that needs `plan` and all that it names.

    SluiceError when the text is not that, or names no plan.
    """
    found = jobs_of(needs)
    if PLAN not in found:
        raise SluiceError("NEEDS: no job `plan`", remedy="name it under `needs:`, beside every job that it plans")
    planned = found[PLAN].get("outputs") or {}
    outcomes = [_of_plan(str(found[PLAN].get("result")), planned)]
    outcomes += [_of_job(job, str(facts.get("result")), planned) for job, facts in found.items() if job != PLAN]
    outcomes += [JobOutcome(job, "absent", "it is planned, but not under `needs:`") for job in JOBS if job not in found]
    return outcomes


def _of_plan(result: str, planned: Mapping[str, Any]) -> JobOutcome:
    if result != "success":
        return JobOutcome(PLAN, result, "without a plan nothing else can be believed")
    odd = [job for job in JOBS if planned.get(job) not in ("true", "false")]
    return JobOutcome(PLAN, result, f"it says neither true nor false for {', '.join(odd)}" if odd else "")


def _of_job(job: str, result: str, planned: Mapping[str, Any]) -> JobOutcome:
    if result == "success" or (result == "skipped" and planned.get(job) == "false"):
        return JobOutcome(job, result)
    if result != "skipped":
        return JobOutcome(job, result, "it has to succeed")
    why = "the plan asked for it" if planned.get(job) == "true" else "no plan allows to skip it"
    return JobOutcome(job, result, why)


def summary(outcomes: list[JobOutcome]) -> str:
    """Markdown for the summary of the job."""
    rows = [(one.job, one.result, one.fault or ("not needed" if one.result == "skipped" else "")) for one in outcomes]
    return "### Required\n\n" + table(("job", "result", ""), rows)
