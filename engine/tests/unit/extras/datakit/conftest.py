"""Data folders that keep the contract, and traffic as the service records it: made by its own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.extras.datakit.traffic import Exchange
from sluice.serving.telemetry.spans import ProcessFacts, feedback_span
from sluice.serving.telemetry.traces import RETRIEVE
from support.telemetry.recording import RESOURCE, RecordedTrace, feedback_on, json_lines
from unit.data.conftest import *  # noqa: F403 - data folders that keep the contract

FACTS = ProcessFacts("r-" + "a" * 12, "answer", "d" * 64)


def trace_id(number: int) -> str:
    return f"{number:032x}"


def line(
    number: int, question: str = "", *, declined: bool = False, similarity: float | None = 0.7, **more: Any
) -> bytes:
    """What the service writes of one request. `more`: status, tenant, blocked, contents."""
    trace = RecordedTrace(trace_id(number), contents=more.get("contents", True))
    trace.route, trace.status, trace.tenant = "/v1/chat/completions", more.get("status", 200), more.get("tenant", "")
    trace.text("input", [{"role": "user", "content": question}])
    trace.text("output", [{"role": "assistant", "content": "The handbook does not say." if declined else "So it is."}])
    trace.set("sluice.declined", declined)
    if more.get("blocked"):
        trace.set("sluice.blocked", "injection")
    with trace.step(RETRIEVE) as step:
        if similarity is not None:
            step.set("sluice.retrieval.best_similarity", similarity)
            step.set("sluice.retrieval.chunks", ("tides-1", "dunes-2"))
    return json_lines(trace.spans(FACTS))


def score(number: int, value: float, comment: str = "") -> bytes:
    """What the service writes of one piece of feedback."""
    return json_lines([feedback_span(feedback_on(trace_id(number), value, comment=comment), FACTS, RESOURCE)])


@pytest.fixture
def spool(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines as a file of the spool; its folder."""

    def write(*lines: bytes, name: str = "1-1-1.jsonl") -> Path:
        folder = tmp_path / "traces"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"".join(lines))
        return folder

    return write


def exchange(number: int, question: str, **more: Any) -> Exchange:
    fields: dict[str, Any] = {"tenant": "default", "declined": False, "blocked": False}
    fields |= {"similarity": None, "feedback": None, **more}
    return Exchange(trace_id=trace_id(number), question=question, **fields)
