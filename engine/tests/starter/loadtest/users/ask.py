"""A visitor: asks questions through the router, as people do."""

from __future__ import annotations

from locust import FastHttpUser, task

from sluice.extend import LoadStage, ask, charge


class Visitor(FastHttpUser):
    """A user of the service. Each answer is charged to the release that gave it."""

    abstract = True
    stage: LoadStage
    answered_in = 0.0

    def wait_time(self) -> float:
        """A second, or as long as the answer took: visitors of a slow machine must not crowd out the probes."""
        return max(1.0, self.answered_in)

    @task
    def visit(self) -> None:
        answer = ask(self, self.stage.router, self.stage.question(), "router", self.stage.key)
        self.answered_in = (answer.total_ms or 0) / 1000
        self.stage.samples.append(answer.sample(charge(answer.release, stable=self.stage.stable_release)))
