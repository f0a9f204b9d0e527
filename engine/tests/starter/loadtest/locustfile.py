"""The load stage of a canary, over HTTP only: what users do (users/), and how many there are when (shapes/).

    locust -f loadtest/locustfile.py --headless --only-summary

Parameters are SLUICE_* variables; engine/docs/reference/rollout.md lists them.
"""

from __future__ import annotations

from locust import LoadTestShape

import shapes.staircase
import shapes.steady
import users.ask
import users.probe
from sluice.extend import start_stage

SHAPES: dict[str, type[LoadTestShape]] = {
    "steady": shapes.steady.Steady,
    "staircase": shapes.staircase.Staircase,
}
STAGE = start_stage(SHAPES)


class Visitor(users.ask.Visitor):
    stage = STAGE
    host = STAGE.router
    connection_timeout = network_timeout = STAGE.answer_timeout


class PairedProbe(users.probe.PairedProbe):
    stage = STAGE
    host = STAGE.stable
    connection_timeout = network_timeout = STAGE.answer_timeout


class Shape(SHAPES[STAGE.shape]):  # type: ignore[misc]
    stage = STAGE
