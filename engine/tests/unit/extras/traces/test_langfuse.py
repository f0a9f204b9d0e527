import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.traces.exporters import langfuse
from support.telemetry.collector import Collector, attributes_of, telemetry_settings
from support.telemetry.recording import feedback_on

Serve = Callable[..., Any]
ROOT = "POST /v1/chat/completions"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    for name, value in (("PUBLIC_KEY", "pk"), ("SECRET_KEY", "none"), ("BASE_URL", collector.url + "/")):
        monkeypatch.setenv(f"LANGFUSE_{name}", value)


@pytest.mark.usefixtures("keys")
def test_spans_arrive_with_basic_auth_and_langfuse_s_names(serve: Serve, collector: Collector) -> None:
    service = serve("langfuse", contents=True)
    service.chat()
    service.flush()
    (arrived,) = collector.arrived
    assert arrived.path == "/api/public/otel/v1/traces"
    assert base64.b64decode(arrived.headers["authorization"].removeprefix("Basic ")) == b"pk:none"
    assert arrived.headers["content-encoding"] == "gzip"
    seen = {span.name: attributes_of(span) for span in arrived.spans}
    # What Langfuse 4.16 reads, packages/shared/src/server/otel/ObservationTypeMapper.ts (priority 2 and 3) …
    assert {name: own.get("openinference.span.kind") for name, own in seen.items()} == {
        ROOT: "CHAIN",
        "guard input": "GUARDRAIL",
        "retrieve": "RETRIEVER",
        "prompt": None,
        "chat model": None,
        "guard output": "GUARDRAIL",
    }
    assert seen["chat model"]["gen_ai.operation.name"] == "chat", "a generation"
    # … and OtelIngestionProcessor.ts: extractEnvironment, extractModelName, extractUsageDetails, extractInputAndOutput.
    assert {own["langfuse.release"] for own in seen.values()} == {"r-0123456789ab"}
    assert {own["langfuse.environment"] for own in seen.values()} == {"default"}
    assert {own["langfuse.trace.metadata.tenant"] for own in seen.values()} == {"default"}
    model = seen["chat model"]
    assert model["gen_ai.request.model"] == "model"
    assert (model["gen_ai.usage.input_tokens"], model["gen_ai.usage.output_tokens"]) == (11, 2)
    (said,) = json.loads(seen[ROOT]["gen_ai.output.messages"])
    assert (said["role"], said["parts"][0]["content"]) == ("assistant", "64 tokens")
    assert seen["retrieve"]["input.value"] == "How much overlap do chunks have?"
    assert "share 64 tokens" in seen["retrieve"]["output.value"]


@pytest.mark.usefixtures("keys")
def test_scores_arrive_as_langfuse_reads_them(serve: Serve, collector: Collector) -> None:
    service = serve("langfuse")
    trace_id = service.chat().json()["trace"]
    service.telemetry.score(feedback_on(trace_id, -1.0, "call +1 555 123 4567"))
    service.flush()
    sent = next(arrived for arrived in collector.arrived if arrived.path == "/api/public/scores")
    assert sent.json == [
        {
            "id": sent.json[0]["id"],
            "traceId": trace_id,
            "name": "user",
            "value": -1.0,
            "dataType": "NUMERIC",
            "environment": "default",
            "comment": "call [redacted: phone]",
        }
    ]


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("mode", ["forbidden", "hang", "down"])
def test_langfuse_in_trouble_costs_traces_and_scores_only(serve: Serve, collector: Collector, mode: str) -> None:
    collector.turn(mode)
    service = serve("langfuse", timeout_seconds=60 if mode == "forbidden" else 0.3)
    reply = service.chat()
    assert reply.status_code == 200
    service.telemetry.score(feedback_on(reply.json()["trace"], 1.0))
    service.flush()
    assert service.lost == {("langfuse", "refused" if mode == "forbidden" else "unreachable"): 6 + 1}


def test_without_keys_the_service_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PUBLIC_KEY", "SECRET_KEY", "BASE_URL"):
        monkeypatch.delenv(f"LANGFUSE_{name}", raising=False)
    with pytest.raises(SluiceError, match="the exporter langfuse has no address or no keys"):
        langfuse.open_exporter(telemetry_settings("langfuse").traces, tmp_path)
