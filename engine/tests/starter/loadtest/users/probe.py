"""A prober: puts the same question to stable and to the canary, one right after the other, in alternating order."""

from __future__ import annotations

from typing import Literal

from locust import FastHttpUser, constant, task

from sluice.extend import LoadStage, ask


class PairedProbe(FastHttpUser):
    """There is always exactly one, so that the two services are never probed at the same time."""

    abstract = True
    stage: LoadStage
    fixed_count = 1
    wait_time = constant(0)
    pair = 0

    @task
    def compare(self) -> None:
        self.pair += 1
        question = self.stage.question()
        targets: list[tuple[Literal["canary", "stable"], str]] = [
            ("stable", self.stage.stable),
            ("canary", self.stage.canary),
        ]
        for release, url in targets if self.pair % 2 else reversed(targets):
            answer = ask(self, url, question, release, self.stage.key)
            self.stage.samples.append(answer.sample(release, self.pair))
