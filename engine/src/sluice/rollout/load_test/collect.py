"""Samples of workers, on their way to the master."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sluice.rollout.load_measurements import RequestSample
from sluice.rollout.load_test.stage import LoadStage

_KEY = "sluice_samples"


def send(stage: LoadStage, worker: str, report: dict[str, Any]) -> None:
    """Puts what a worker has measured since its last report into this one."""
    taken, stage.samples = stage.samples, []
    # The prober moves to another worker when its own dies, and begins to count anew.
    report[_KEY] = [asdict(one) | {"pair": one.pair and f"{worker}-{one.pair}"} for one in taken]


def receive(stage: LoadStage, report: dict[str, Any]) -> None:
    """Adds what a worker has reported to what the master judges."""
    stage.samples += [RequestSample(**one) for one in report.get(_KEY, ())]
