"""The same number of users from start to end."""

from __future__ import annotations

from locust import LoadTestShape

from sluice.extend import LoadStage


class Steady(LoadTestShape):
    abstract = True
    stage: LoadStage

    def tick(self) -> tuple[int, float] | None:
        return None if self.stage.over(self.get_run_time()) else (self.stage.users, float(self.stage.users))
