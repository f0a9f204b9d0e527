"""Cost of a run: the estimate before it, the limit that SageMaker enforces, and the actual cost. US dollars.

A price is that of an hour on demand, from config/sagemaker.yaml. A spot machine is billed for less time than it ran;
how much less is known at the end only, so estimates and what has been used so far count the whole time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sluice.core.errors import SluiceError
from sluice.extras.sagemaker.settings import JobSettings, SageMakerSettings


@dataclass(frozen=True)
class CostEstimate:
    """`expected`: by step, in order; `at_most`: when every job runs until SageMaker ends it."""

    expected: dict[str, float]
    at_most: float
    budget: float

    @property
    def total(self) -> float:
        return sum(self.expected.values())

    def lines(self) -> list[str]:
        steps = [f"  {name:<9} ${value:.2f}" for name, value in self.expected.items()]
        return [
            f"estimate  ${self.total:.2f} on demand, at most ${self.at_most:.2f}, budget ${self.budget:.2f}",
            *steps,
        ]

    def require(self, *, watched: bool) -> None:
        """SluiceError when the run may not start: an unwatched run is not stopped at the budget."""
        if self.total > self.budget:
            raise SluiceError(
                f"config/sagemaker.yaml: a run is estimated at ${self.total:.2f}, above budget_usd {self.budget:.2f}",
                remedy="raise budget_usd, or take smaller machines or fewer minutes; nothing was started",
            )
        if not watched and self.at_most > self.budget:
            raise SluiceError(
                f"config/sagemaker.yaml: a run may cost ${self.at_most:.2f}, above budget_usd {self.budget:.2f},"
                " and nothing would stop it there",
                remedy="add --watch, or lower max_minutes; nothing was started",
            )


def estimate(settings: SageMakerSettings, jobs: Mapping[str, JobSettings]) -> CostEstimate:
    """Of jobs by the name of their step."""
    return CostEstimate(
        {name: price(settings, job, job.expected_minutes * 60) for name, job in jobs.items()},
        sum(price(settings, job, job.max_minutes * 60) for job in jobs.values()),
        settings.budget_usd,
    )


def pipeline_jobs(settings: SageMakerSettings) -> dict[str, JobSettings]:
    """By the name of their step in the pipeline."""
    jobs = settings.jobs
    return {"Process": jobs.process, "Train": jobs.train, "Evaluate": jobs.evaluate}


def price(settings: SageMakerSettings, job: JobSettings, seconds: float) -> float:
    return settings.prices[job.instance_type] * job.instances * seconds / 3600


def used(settings: SageMakerSettings, jobs: Mapping[str, JobSettings], seconds: Iterable[tuple[str, float]]) -> float:
    """Of steps by name and the seconds that each of their machines was, or is to be, billed for."""
    return sum(price(settings, jobs[name], spent) for name, spent in seconds if name in jobs)
