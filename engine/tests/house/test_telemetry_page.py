"""engine/docs/reference/telemetry.md lists exactly the metrics and the attributes that the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from sluice.guardrails.guards import GuardOutcome
from sluice.llm.chat import Delta
from sluice.retrieval import Hit
from sluice.serving.answer import Answer, Usage
from sluice.serving.service_metrics import ServiceMetrics
from sluice.serving.telemetry import traces
from sluice.serving.telemetry.export_queue import Reason, TraceSpool
from sluice.serving.telemetry.exporters.langfuse import LangfuseExporter
from sluice.serving.telemetry.exporters.mlflow import SpoolExporter
from sluice.serving.telemetry.settings import SILENT
from sluice.serving.telemetry.telemetry import ProcessFacts, feedback_span
from sluice.serving.telemetry.traces import record, record_call
from support.telemetry.recording import RESOURCE, RecordedTrace, feedback_on


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "engine" / "docs" / "reference" / "telemetry.md").read_text()


def rows(page: str, heading: str) -> list[list[str]]:
    """Cells of every table of a section, without the heads."""
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_metric_is_listed_with_its_type_and_labels(page: str) -> None:
    listed = {row[0].strip("`"): (row[1], set(re.findall(r"`(\w+)`", row[2]))) for row in rows(page, "Metrics")}
    there = {}
    for series in vars(ServiceMetrics("r", lambda: 0)).values():
        metric = getattr(series, "_metric", None)
        if metric is not None:
            name = metric._name + ("_total" if metric._type == "counter" else "")
            there[name] = (metric._type, set(metric._labelnames) - {"release"})
    assert listed == there


def every_span(tmp_path: Path) -> list[Any]:
    """Spans with everything that can be on them, in the words of each backend."""
    trace = RecordedTrace(contents=True)
    trace.text("input", [{"role": "user", "content": "q"}])
    trace.set("sluice.time_to_first_token", 0.1)
    with trace.step(traces.GUARD_INPUT) as step:
        step.verdict(GuardOutcome("", True, ("injection.override",)))
    with trace.step(traces.RETRIEVE) as step:
        step.text("query", "q")
        step.hits([Hit("c-0", "c", "Title", "Text", 0.1, 0.5)])
    trace.set("sluice.retrieval.doubt", 0.5)
    with trace.step(traces.CHAT) as step, trace.step(traces.PROMPT) as prompt:
        prompt.text("input", [{"role": "user", "content": "p"}])
        step.fail("ModelError")
    answer = Answer("a", False, "x.y", (), (), Usage(1, 2), "stop", 1.0, 2.0, provider="local", cost=0.1)
    with trace.step(traces.CONDENSE) as step:
        record_call(step, Delta(finish_reason="stop", usage=Usage(1, 2), cost=0.1), "model")
        step.set("sluice.condense.taken", True)
    record(trace, answer, Delta(finish_reason="stop", usage=Usage(1, 2), cost=0.1), "model")
    facts = ProcessFacts("r", "answer", "0" * 64)
    exporters = [
        LangfuseExporter("http://127.0.0.1:1", "a:none", SILENT.traces),
        SpoolExporter(TraceSpool(tmp_path, most_bytes=1)),
    ]
    spans = trace.spans(facts, [exporter.dialect for exporter in exporters])
    for exporter in exporters:
        exporter.shutdown()
    return [*spans, feedback_span(feedback_on("a" * 32, 1, "good"), facts, RESOURCE)]


def test_every_attribute_is_listed(page: str, tmp_path: Path) -> None:
    listed = {name for row in rows(page, "Traces") for name in re.findall(r"`([\w.]+)`", row[0])}
    own = page.split("Attributes for one backend only:")[1].split("\n\n")[0]
    listed |= set(re.findall(r"`([\w.]+)`", own))
    there = {name for span in every_span(tmp_path) for name in span.attributes}
    spans = {"guard", "condense", "retrieve", "prompt", "feedback"}
    assert listed - spans == there


def test_every_reason_of_a_loss_is_listed(page: str) -> None:
    listed = {row[0].strip("`") for row in rows(page, "Exporters")} - {"mlflow", "langfuse", "otlp"}
    assert listed == set(get_args(Reason))


def test_the_log_s_keys_are_listed(root: Path, page: str) -> None:
    listed = {name for row in rows(page, "Log") for name in re.findall(r"`(\w+)`", row[0])}
    source = (root / "engine" / "src" / "sluice" / "serving" / "telemetry" / "service_log.py").read_text()
    there = set(re.findall(r'(?:line|fields)\["(\w+)"\]', source)) | {"guard_input", "guard_output"}
    there |= set(re.findall(r'^ {12}"(\w+)":', source, re.MULTILINE)) | {"route", "status", "ms"}
    assert listed == there
