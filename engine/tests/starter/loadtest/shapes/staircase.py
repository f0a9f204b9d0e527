"""From two users up to all of them in equal steps: shows where a release begins to queue."""

from __future__ import annotations

from locust import LoadTestShape

from sluice.extend import LoadStage

_FIRST = 2


class Staircase(LoadTestShape):
    abstract = True
    stage: LoadStage

    def tick(self) -> tuple[int, float] | None:
        elapsed = self.get_run_time()
        if self.stage.over(elapsed):
            return None
        levels = self.stage.users - _FIRST + 1
        level = min(int(elapsed / self.stage.seconds * levels), levels - 1)
        return _FIRST + level, float(self.stage.users)
