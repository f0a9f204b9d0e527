"""`sluice status` beside a real service and a real Prometheus."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from sluice.cli import command
from sluice.core.errors import SluiceError
from sluice.core.processes import free_port, wait_until
from sluice.core.workspace import Workspace
from sluice.extras.status import service_status, workspace_status
from sluice.extras.status.prometheus_status import PrometheusStatus, read_prometheus
from sluice.extras.status.service_status import ServiceStatus, read_service
from sluice.extras.status.status_table import show
from sluice.extras.status.workspace_status import ErrorBudget, WorkspaceStatus, read_status
from sluice.release.environment_record import EnvironmentRecord, here
from sluice.release.verdict import Verdict
from starter_files import GATES
from support.rollout.canaries import BROKEN, GOOD, Canary

pytestmark = pytest.mark.real
LIVE, OTHER = "r-00000000000a", "r-00000000000b"
PROMETHEUS = shutil.which("prometheus")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """People wait for a service for five seconds; here the machine may be busy with other tests."""
    monkeypatch.setattr(service_status, "_SECONDS", 60.0)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    """Ten questions, two of them with a server error."""
    running = Canary(LIVE, tmp_path_factory.mktemp("service"))
    try:
        running.wait_ready()
        for number in range(10):
            running.ask(BROKEN if number < 2 else GOOD)
        yield running
    finally:
        running.stop()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "config").mkdir()
    shutil.copy(GATES, tmp_path / "config" / "gates.yaml")
    return Workspace(tmp_path)


@pytest.fixture
def record(workspace: Workspace) -> EnvironmentRecord:
    return here(workspace)


def test_a_service_with_errors_has_overdrawn_its_budget(
    service: Canary, workspace: Workspace, record: EnvironmentRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    record.append("promoting", LIVE)
    record.append("promoted", LIVE, reason="every canary step held")
    found = read_status(workspace, record, service.url, "")
    assert (found.service.state, found.service.release) == ("ready", LIVE)
    assert found.service.figures is not None
    assert (found.service.figures.questions, found.service.figures.errors) == (10, 2)
    assert found.service.figures.tokens > 0
    assert found.service.figures.answer_p95 is not None
    (budget,) = found.budgets
    assert (budget.objective, budget.window, round(budget.left, 6)) == (0.99, "since its start", -19)
    assert [event.event for event in found.events] == ["promoted"], "an intent that was closed says no more"
    assert found.problems == (f"{service.url}: the error budget is used up (2 errors, since its start)",)
    show(found)
    said = " ".join(capsys.readouterr().out.split())
    for words in (f"live {LIVE}", "ready", "10 answered, 2 of them errors", "-1900% left of 1.00%", "problem"):
        assert words in said


def test_what_is_not_well_is_said(service: Canary, workspace: Workspace, record: EnvironmentRecord) -> None:
    record.append("promoted", OTHER)
    record.append("rejected", LIVE, reason="answer_key is worse")
    record.append("promoting", LIVE)
    problems = read_status(workspace, record, service.url, "").problems
    assert f"{service.url} serves {LIVE}, the record says {OTHER}" in problems
    assert any(one.startswith(f"promoting {LIVE} was begun and not ended") for one in problems)


def test_nothing_at_all_is_no_success(workspace: Workspace, record: EnvironmentRecord) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    found = read_status(workspace, record, nobody, "")
    assert (found.champion, found.verdicts, found.budgets) == (None, (), ())
    assert found.problems[0] == "nothing was ever promoted"
    assert found.problems[1].startswith(f"{nobody}: not reached")


def test_the_verdicts_are_those_of_the_champion_and_of_what_was_rejected(
    workspace: Workspace, record: EnvironmentRecord
) -> None:
    for what, release in (("promoted", "r-" + "c" * 12), ("rejected", OTHER), ("promoted", LIVE)):
        record.append(what, release)  # type: ignore[arg-type]
    damaged = workspace.releases / OTHER
    damaged.mkdir(parents=True)
    (damaged / "release.json").write_text("{")
    verdicts = read_status(workspace, record, "http://127.0.0.1:1", "").verdicts
    assert [(one.release, one.state, one.title) for one in verdicts] == [
        (LIVE, "unknown", "not on this machine"),
        (OTHER, "unknown", "its files cannot be read"),
    ]
    assert str(damaged) in verdicts[1].reason


def test_a_budget_without_an_objective_and_a_prometheus_without_pods_are_said(
    service: Canary, workspace: Workspace, record: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = workspace.config / "gates.yaml"
    gates.write_text(gates.read_text().replace("name: success_rate", "name: other"))
    monkeypatch.setattr(workspace_status, "read_prometheus", lambda _: PrometheusStatus((), ()))
    found = read_status(workspace, record, service.url, "", "http://prometheus")
    assert found.budgets == ()
    assert "Prometheus has read no pod of the service" in found.problems
    assert any("config/gates.yaml has no gate success_rate" in one for one in found.problems)


GATE = Verdict.unjudged("comparison_f1", "f1 is worse")
HELD = GATE.model_copy(update={"passed": True})


@pytest.mark.parametrize(
    ("gates", "rehearsal", "said"),
    [
        ((HELD, GATE), {"verdict": "passed"}, ("failed", "1 of 2 gates", "f1 is worse")),
        ((HELD,), {"verdict": "stopped", "reason": "slow"}, ("failed", "stopped in the canary", "slow")),
        ((HELD,), None, ("open", "1 gates held, not rehearsed here", "")),
        ((), {"verdict": "passed"}, ("open", "judged by no gate", "")),
        ((HELD, HELD), {"verdict": "passed"}, ("passed", "2 gates and every canary step held", "")),
    ],
)
def test_a_verdict_is_that_of_gates_and_canary(
    workspace: Workspace,
    record: EnvironmentRecord,
    monkeypatch: pytest.MonkeyPatch,
    gates: tuple[Verdict, ...],
    rehearsal: dict[str, str] | None,
    said: tuple[str, str, str],
) -> None:
    record.append("rejected", OTHER)
    folder = workspace.releases / OTHER
    folder.mkdir(parents=True)
    if rehearsal:
        (folder / "rehearsal.json").write_text(json.dumps(rehearsal))
    monkeypatch.setattr(workspace_status, "load", lambda _: SimpleNamespace(gates=gates))
    (found,) = read_status(workspace, record, "http://127.0.0.1:1", "").verdicts
    assert (found.state, found.title, found.reason) == said


def test_another_server_is_no_service(service: Canary) -> None:
    found = read_service(f"{service.url}/v1", "")
    assert found == ServiceStatus(f"{service.url}/v1", "another server answers there")


def test_a_service_with_keys_says_which_key_is_missing(
    service: Canary, workspace: Workspace, record: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = service_status.request

    def guarded(url: str, timeout: float, *, headers: dict[str, str] = {}) -> Any:  # noqa: B006
        """Only the metrics ask for a key, as in serving/http_api.py."""
        answer = ask(url, timeout, headers=headers)
        if url.endswith("/metrics") and headers != {"Authorization": "Bearer right"}:
            answer.status_code = 401
        return answer

    monkeypatch.setattr(service_status, "request", guarded)
    assert read_service(service.url, "right").figures is not None
    problems = read_status(workspace, record, service.url, "wrong").problems
    assert "/metrics answers 401: SLUICE_METRICS_KEY needs a key with the scope metrics" in problems


def test_the_command_prints_one_object(
    service: Canary, workspace: Workspace, record: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "find", lambda *_: workspace)
    record.append("promoted", LIVE)
    ended = CliRunner().invoke(_typer(), ["status", "--url", service.url, "--json"])
    assert ended.exit_code == 0, ended.output
    told: dict[str, Any] = json.loads(ended.stdout)
    assert told["champion"]["id"] == told["service"]["release"] == LIVE
    assert told["budgets"][0]["errors"] == 2
    assert told["cluster"] is None


def _typer() -> Any:
    from sluice.cli import app

    command()
    return app


@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed (apt-get install prometheus)")
def test_prometheus_says_the_same_of_a_namespace(
    service: Canary, workspace: Workspace, record: EnvironmentRecord, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    target = {"targets": [service.url.removeprefix("http://")], "labels": {"project": "p", "namespace": "n"}}
    rule = {"alert": "SluiceSomething", "expr": "sluice_in_flight == 0"}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "sluice", "static_configs": [target]}],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    argv = [str(PROMETHEUS), f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([*argv, f"--web.listen-address={url[7:]}"], stdout=log, stderr=log)

    told: list[WorkspaceStatus] = []

    def is_told() -> bool:
        with suppress(SluiceError):
            told.append(read_status(workspace, record, service.url, "", url))
        return bool(told and told[-1].cluster and told[-1].cluster.alerts and told[-1].budgets[:-1])

    try:
        for _ in range(2):
            service.ask(GOOD)
        assert wait_until(lambda: bool(read_after_question(service, url)), seconds=240), (tmp_path / "log").read_text()
        assert wait_until(is_told, seconds=240), (tmp_path / "log").read_text()
        found = told[-1]
        assert found.cluster is not None
        (place,) = found.cluster.namespaces
        assert (place.project, place.namespace, place.pods) == ("p", "n", {LIVE: 1})
        assert found.cluster.alerts == ("SluiceSomething (n)",)
        assert "SluiceSomething (n) fires" in found.problems
        assert isinstance(found.budgets[0], ErrorBudget)
        assert (found.budgets[0].where, found.budgets[0].window, found.budgets[0].left) == ("p n", "30d", 1)
    finally:
        running.terminate()
        running.wait(timeout=30)


def read_after_question(service: Canary, url: str) -> bool:
    """Asks once more, until Prometheus has seen the number of questions rise."""
    service.ask(GOOD)
    try:
        return any(place.questions > 0 for place in read_prometheus(url).namespaces)
    except SluiceError:
        return False


def test_a_prometheus_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(SluiceError, match="no answer of a Prometheus") as refused:
        read_prometheus(f"http://127.0.0.1:{free_port()}")
    assert "port-forward" in str(refused.value)
