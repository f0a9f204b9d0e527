"""To MLflow: a tracking server by OTLP, or the spool, whose files the extra `traces` loads."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.mlflow_server import MlflowServer
from support.telemetry.collector import Collector
from support.telemetry.recording import feedback_on, spooled

Serve = Callable[..., Any]


def test_a_disk_that_is_full_costs_traces_only(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sluice.extras.traces.exporters import mlflow

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    service = serve("mlflow")
    monkeypatch.setattr(mlflow, "append_whole", full)
    assert service.chat().status_code == 200
    service.flush()
    assert service.lost == {("mlflow", "disk"): 6}
    assert spooled(tmp_path / ".sluice" / "traces") == []


def test_a_server_gets_spans_for_an_experiment_that_is_made(serve: Serve, collector: Collector) -> None:
    service = serve("mlflow", mlflow={"tracking_uri": collector.url, "experiment": "my service"})
    trace_id = service.chat().json()["trace"]
    service.telemetry.score(feedback_on(trace_id, 1.0, "good", tenant="acme"))
    service.flush()
    find, make, spans, score = collector.arrived
    assert find.path == "/api/2.0/mlflow/experiments/get-by-name?experiment_name=my%20service"
    assert (make.path, make.json) == ("/api/2.0/mlflow/experiments/create", {"name": "my service"})
    assert (spans.path, spans.headers["x-mlflow-experiment-id"], len(spans.spans)) == ("/v1/traces", "42", 6)
    assert score.path == f"/api/3.0/mlflow/traces/tr-{trace_id}/assessments"
    assert score.json["assessment"] == {
        "assessment_name": "user",
        "trace_id": f"tr-{trace_id}",
        "source": {"source_type": "HUMAN", "source_id": "acme"},
        "feedback": {"value": 1.0},
        "metadata": score.json["assessment"]["metadata"],
        "rationale": "good",
    }


@pytest.mark.parametrize("mode", ["forbidden", "hang", "down"])
def test_a_server_in_trouble_costs_traces_only(serve: Serve, collector: Collector, mode: str) -> None:
    collector.turn(mode)
    seconds = 60 if mode == "forbidden" else 0.3
    service = serve("mlflow", mlflow={"tracking_uri": collector.url}, timeout_seconds=seconds)
    assert service.chat().status_code == 200
    service.flush()
    assert service.lost == {("mlflow", "refused" if mode == "forbidden" else "unreachable"): 6}


@pytest.mark.real
@pytest.mark.timeout(1800)  # a busy machine takes minutes to start it
def test_a_real_server_takes_spans_and_scores(serve: Serve, tmp_path: Path) -> None:
    import mlflow

    server = MlflowServer(tmp_path)
    before = mlflow.get_tracking_uri()
    try:
        server.start()
        service = serve("mlflow", timeout_seconds=120, mlflow={"tracking_uri": server.url, "experiment": "service"})
        trace_id = service.chat().json()["trace"]
        service.telemetry.score(feedback_on(trace_id, 1.0, "good"))
        assert service.flush(150)
        assert not service.lost
        mlflow.set_tracking_uri(server.url)
        trace = mlflow.get_trace(f"tr-{trace_id}")
        assert len(trace.data.spans) == 6
        assert [score.rationale for score in trace.info.assessments] == ["good"]
    finally:
        mlflow.set_tracking_uri(before)
        server.kill(signal.SIGTERM)


def test_serving_imports_neither_mlflow_nor_langfuse(tmp_path: Path) -> None:
    code = (
        "import sys; from sluice.serving import http_api as api, server; "
        "from sluice.extras.traces.exporters import mlflow, langfuse; "
        "heavy = {'mlflow', 'langfuse', 'pandas'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
