import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import free_port, wait_until
from sluice.extras.traces.exporters import otlp
from sluice.serving.telemetry.telemetry import ProcessFacts, feedback_span
from support.serving.fakes import ScriptedChat
from support.telemetry.collector import Collector, attributes_of, telemetry_settings
from support.telemetry.recording import RESOURCE, feedback_on

OVERLAP = "How much overlap do chunks have?"
OWNER = "Who answers for this?"
SERVER, CLIENT = 2, 3
Serve = Callable[..., Any]


@pytest.fixture
def to(collector: Collector, serve: Serve) -> Serve:
    """A service that tells the collector."""
    return lambda **traces: serve("otlp", otlp={"endpoint": f"{collector.url}/v1/traces"}, **traces)


def test_one_request_is_one_tree(to: Serve, collector: Collector, facts: ProcessFacts) -> None:
    service = to()
    reply = service.chat()
    assert service.flush()
    (arrived,) = collector.arrived
    assert arrived.path == "/v1/traces"
    assert (arrived.resource["service.name"], arrived.resource["service.version"]) == ("sluice", facts.release)
    spans = {span.name: span for span in collector.spans}
    assert list(spans) == [
        "POST /v1/chat/completions",
        "guard input",
        "retrieve",
        "prompt",
        "chat model",
        "guard output",
    ]
    root = spans.pop("POST /v1/chat/completions")
    assert root.trace_id.hex() == reply.headers["x-sluice-trace"] == reply.json()["trace"]
    assert reply.json()["id"].startswith(f"chatcmpl-{root.trace_id.hex()}")
    assert root.parent_span_id == b""
    assert (root.kind, spans["chat model"].kind) == (SERVER, CLIENT)
    assert {span.parent_span_id for span in spans.values()} == {root.span_id}
    assert {span.trace_id for span in spans.values()} == {root.trace_id}
    assert len({span.span_id for span in arrived.spans}) == 6
    for span in spans.values():
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano


def test_the_attributes_are_those_of_the_genai_conventions(
    to: Serve, collector: Collector, facts: ProcessFacts
) -> None:
    service = to()
    service.chat(stream=True)
    service.flush()
    seen = {span.name: attributes_of(span) for span in collector.spans}
    for attributes in seen.values():
        assert attributes["sluice.release"] == facts.release
        assert attributes["sluice.prompt.digest"] == facts.prompt_digest
        assert attributes["sluice.tenant"] == "default"
    root, model, search = seen["POST /v1/chat/completions"], seen["chat model"], seen["retrieve"]
    assert root["gen_ai.operation.name"] == "invoke_workflow"
    assert root["gen_ai.request.stream"] is True
    assert root["gen_ai.response.finish_reasons"] == ["stop"]
    assert (root["http.route"], root["http.response.status_code"]) == ("/v1/chat/completions", 200)
    assert root["sluice.time_to_first_token"] > 0
    assert model["gen_ai.operation.name"] == "chat"
    assert (model["gen_ai.request.model"], model["gen_ai.provider.name"]) == ("model", "local")
    assert (model["gen_ai.usage.input_tokens"], model["gen_ai.usage.output_tokens"]) == (11, 2)
    assert model["gen_ai.prompt.name"] == "answer"
    assert search["gen_ai.operation.name"] == "retrieval"
    assert (search["sluice.retrieval.hits"], search["sluice.retrieval.best_similarity"]) == (2, 0.9)
    assert search["sluice.retrieval.chunks"] == ["chunking-0", "cost-0"]
    for guard in ("guard input", "guard output"):
        assert (seen[guard]["sluice.guard.verdict"], seen[guard]["sluice.guard.checks"]) == ("passed", 1)


def test_no_text_is_recorded_unless_asked_for(to: Serve, collector: Collector) -> None:
    service = to()
    service.chat()
    service.chat(OWNER)
    service.flush()
    everything = "".join(str(span) for span in collector.spans)
    for text in ("overlap do chunks", "64 tokens", "share 64", "owner@", "Question:"):
        assert text not in everything


def test_contents_are_recorded_after_redaction(to: Serve, collector: Collector) -> None:
    reply = "Write to owner@example.org. The key is AKIA" + "IOSFODNN7ABCDEFG."
    service = to(contents=True, model=ScriptedChat(script={"overlap": reply, "Who answers": reply}))
    service.chat(OVERLAP)
    service.chat("Is a@example.org right, who answers? My number is +1 555 123 4567")
    service.flush()
    by_name = {span.name: attributes_of(span) for span in collector.spans if span.name != "guard input"}
    everything = json.dumps([attributes_of(span) for span in collector.spans])
    for personal in ("owner@example.org", "a@example.org", "555 123", "IOSFODNN7"):
        assert personal not in everything
    root = by_name["POST /v1/chat/completions"]
    asked = json.loads(root["gen_ai.input.messages"])
    assert asked[0]["role"] == "user"
    assert "[redacted: email]" in asked[0]["parts"][0]["content"]
    assert "[redacted: phone]" in asked[0]["parts"][0]["content"]
    first = next(s for s in collector.spans if s.name == "retrieve")
    documents = json.loads(attributes_of(first)["gen_ai.retrieval.documents"])
    assert documents[0]["content"].startswith("Neighbouring chunks share 64 tokens")
    model = next(attributes_of(s) for s in collector.spans if s.name.startswith("chat"))
    assert "gen_ai.output.messages" in model


def test_a_traceparent_is_honoured(to: Serve, collector: Collector) -> None:
    service = to(ratio=0.0001)
    parent = f"00-{'0af76519' * 4}-{'b7ad6b71' * 2}-01"
    reply = service.chat(headers={"traceparent": parent})
    assert reply.headers["x-sluice-trace"] == "0af76519" * 4
    service.chat(headers={"traceparent": parent[:-1] + "0"})
    service.chat(headers={"traceparent": "00-nonsense"})
    service.flush()
    root = collector.spans[0]
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (parent[3:35], parent[36:52])
    assert len(collector.spans) == 6


def test_weakness_10_a_caller_cannot_hide_his_question_from_the_traces(to: Serve, collector: Collector) -> None:
    service = to(ratio=1.0)
    parent = f"00-{'0af76519' * 4}-{'b7ad6b71' * 2}-00"
    service.chat(headers={"traceparent": parent})
    service.flush()
    root = collector.spans[0]
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (parent[3:35], parent[36:52])


def test_only_questions_are_traced_and_everything_has_an_id(to: Serve, collector: Collector) -> None:
    service = to()
    ids = {service.send("GET", path).headers["x-sluice-trace"] for path in ("/healthz", "/version", "/no")}
    assert len(ids) == 3
    service.flush()
    assert collector.arrived == []


def test_a_score_is_a_span_of_the_trace_it_is_about(to: Serve, collector: Collector) -> None:
    service = to()
    trace_id = service.chat().json()["trace"]
    service.telemetry.score(feedback_on(trace_id, 1.0, "Thanks from a@example.org", tenant="acme"))
    service.flush()
    score = collector.spans[-1]
    assert (score.name, score.trace_id.hex()) == ("feedback", trace_id)
    seen = attributes_of(score)
    assert (seen["gen_ai.evaluation.name"], seen["gen_ai.evaluation.score.value"]) == ("user", 1.0)
    assert seen["gen_ai.evaluation.explanation"] == "Thanks from [redacted: email]"
    assert seen["sluice.tenant"] == "acme"


@pytest.mark.parametrize(
    ("mode", "reason", "lost"),
    [
        ("busy", "unreachable", 18),
        ("redirect", "refused", 18),
        ("garbage", "unreachable", 18),
        ("not_otlp", "garbage", 18),
        ("partial", "rejected", 1),
    ],
)
def test_requests_are_answered_whatever_the_collector_does(
    to: Serve, collector: Collector, mode: str, reason: str, lost: int
) -> None:
    collector.turn(mode)
    service = to(timeout_seconds=0.3) if mode in ("busy", "garbage") else to()
    for _ in range(3):
        assert service.chat().status_code == 200
    assert service.flush()
    assert service.lost == {("otlp", reason): lost}
    label = f'exporter="otlp",reason="{reason}"'
    assert f'sluice_telemetry_dropped_total{{{label},release="r-0123456789ab"}} {lost}.0' in service.metrics()


def test_no_answer_waits_for_a_collector_and_every_span_it_does_not_take_is_counted(
    to: Serve, collector: Collector
) -> None:
    collector.turn("hang")
    service = to(queue=30, timeout_seconds=3600)
    assert service.chat().status_code == 200
    assert collector.holding.wait(60)
    for stream in (False, True) * 10:
        assert service.chat(stream=stream).status_code == 200
    assert not service.flush(0)
    assert service.lost == {("otlp", "queue_full"): 21 * 6 - 30, ("otlp", "shutdown"): 30}


@pytest.mark.usefixtures("loopback")
def test_a_collector_that_is_not_there_costs_nothing_but_its_traces(serve: Serve) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}/v1/traces"
    service = serve("otlp", otlp={"endpoint": endpoint}, queue=30, timeout_seconds=0.3)
    for _ in range(20):
        assert service.chat().status_code == 200
    assert len(service.telemetry.queues["otlp"]) <= 30
    service.flush()
    assert sum(service.lost.values()) == 20 * 6


def test_what_failed_for_a_while_is_delivered_later(to: Serve, collector: Collector) -> None:
    collector.turn("busy", "ok")
    service = to()
    service.chat()
    assert wait_until(lambda: len(collector.spans) == 6, seconds=60)
    assert not service.lost


def test_headers_come_from_a_variable(
    collector: Collector, facts: ProcessFacts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLLECTOR_HEADERS", "x-team = search ,x-site=b")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=of-another-backend")
    given = {"endpoint": f"{collector.url}/v1/traces", "headers_env": "COLLECTOR_HEADERS"}
    settings = telemetry_settings("otlp", otlp=given).traces
    exporter = otlp.open_exporter(settings, tmp_path)
    exporter.send([feedback_span(feedback_on("0" * 31 + "1", 1), facts, RESOURCE)])
    exporter.shutdown()
    assert (collector.arrived[0].headers["x-team"], collector.arrived[0].headers["x-site"]) == ("search", "b")
    assert "x-token" not in collector.arrived[0].headers, "which is for whoever reads that variable"
    assert os.environ["OTEL_EXPORTER_OTLP_HEADERS"]
    monkeypatch.setenv("COLLECTOR_HEADERS", "no equals sign")
    with pytest.raises(SluiceError, match="COLLECTOR_HEADERS is not name=value") as raised:
        otlp.open_exporter(settings, tmp_path)
    assert "no equals" not in str(raised.value)
