import json
import signal
from pathlib import Path

import httpx
import pytest

from sluice.guardrails.guards import Guards
from sluice.serving.release_parts import ReleaseBundle
from support.serving.process import ServiceProcess
from support.telemetry.collector import Collector
from support.telemetry.recording import spooled
from unit.serving.telemetry.seeded_people import MANY, left_of_people, serve_people

ROOT = Path(__file__).parents[5]
# The runtime is replaced by the scripted fakes; all else is the service.
CODE = """
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from support.serving.fakes import HITS, REPLIES, NoChecks, ScriptedChat, ScriptedRetriever, scripted_bundle
from sluice.serving import server
from sluice.serving.runner import ApplicationRunner
from sluice.serving.telemetry.settings import TelemetrySettings
from sluice.core.settings import load_settings
from sluice.retrieval.stores import Stores

class Ready(ApplicationRunner):
    async def warm_up(self):
        pass

@contextmanager
def open_runtime(bundle, stores, state):
    chat = ScriptedChat(script=REPLIES)
    application = Ready(bundle, chat, ScriptedRetriever(HITS), NoChecks())
    yield SimpleNamespace(application=application, chat=None)

server.open_runtime = open_runtime
stores = Stores.model_validate({"default": "x", "stores": {"x": {"kind": "embedded"}}})
told = load_settings(Path(config), TelemetrySettings)
upgraded = replace(scripted_bundle(), other_code=("sluice/llm/provider_http.py", "sluice/serving/http_api.py"))
server.serve(upgraded, "127.0.0.1", port, stores=stores, state=Path(state), telemetry=told)
"""


BODY = {"messages": [{"role": "user", "content": "How much overlap do chunks have?"}]}


def traced(to: Collector, delay: float = 0.0, settings: str = "") -> ServiceProcess:
    call = f"run_traced_service(port, '{to.url}/v1/traces', {delay}, {settings})"
    return ServiceProcess(f"from support.telemetry.collector import run_traced_service; {call}")


@pytest.mark.usefixtures("loopback")
def test_serve_logs_json_and_leaves_its_traces(tmp_path: Path) -> None:
    log, sampled = tmp_path / "log", {"traceparent": f"00-{'0af76519' * 4}-{'b7ad6b71' * 2}-01"}
    places = f"state, config = {str(tmp_path / '.sluice')!r}, {str(ROOT / 'config' / 'telemetry.yaml')!r}"
    with ServiceProcess(f"{places}\n{CODE}", log) as service:
        chat = f"{service.url}/v1/chat/completions"
        reply = httpx.post(chat, json=BODY, headers=sampled, trust_env=False, timeout=240)
        unknown = httpx.post(chat, json=BODY | {"what": 1}, headers=sampled, trust_env=False, timeout=240)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    warning = lines.pop(0)
    assert warning["level"].lower() == "warning"
    assert "other code: 2 files differ, sluice/llm/provider_http.py first" in warning["message"]
    assert [(line["message"], line["status"], line["trace"]) for line in lines] == [
        ("request", 200, reply.json()["trace"]),
        ("request", 400, unknown.headers["x-sluice-trace"]),
    ]
    traces = tmp_path / ".sluice" / "traces"
    assert [path.suffix for path in traces.iterdir()] == [".jsonl"]
    spans = spooled(traces)
    assert len(spans) == 6 + 1
    root = {one.key: one.value.string_value for one in spans[0].attributes}
    assert (root["mlflow.traceTag.release"], root["openinference.span.kind"]) == ("r-0123456789ab", "CHAIN")


def test_a_stream_that_ends_during_the_drain_is_delivered(collector: Collector) -> None:
    with traced(collector, delay=0.2) as service:
        place, body = f"{service.url}/v1/chat/completions", BODY | {"stream": True}
        with httpx.stream("POST", place, json=body, timeout=240, trust_env=False) as response:
            lines = response.iter_lines()
            next(lines)
            service.process.send_signal(signal.SIGTERM)
            assert "[DONE]" in "".join(lines)
        assert service.process.wait(240) == 0
    assert len(collector.spans) == 6
    assert {span.trace_id.hex() for span in collector.spans} == {response.headers["x-sluice-trace"]}


def test_a_collector_that_hangs_does_not_hold_the_process(collector: Collector) -> None:
    collector.turn("hang")
    with traced(collector, settings="timeout_seconds=3600, flush_seconds=1") as service:
        place = f"{service.url}/v1/chat/completions"
        assert httpx.post(place, json=BODY, timeout=240, trust_env=False).status_code == 200
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(240) == 0


def test_after_a_run_with_seeded_data_none_is_on_disk(bundle: ReleaseBundle, guards: Guards, tmp_path: Path) -> None:
    serve_people(tmp_path, bundle, guards)
    spooled = "".join(path.read_text() for path in (tmp_path / ".sluice" / "traces").iterdir())
    assert spooled.count("[redacted: ") >= MANY  # contents are there, without what is personal
    assert len((tmp_path / "log").read_text().splitlines()) >= 2 * MANY
    assert left_of_people(tmp_path) == []
