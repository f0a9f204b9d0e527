from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from sluice import cli
from sluice.core.errors import SluiceError
from sluice.core.processes import free_port, wait_until
from sluice.extras.fleet import fleet_status
from sluice.extras.fleet.fleet_status import read_status
from sluice.extras.fleet.project_status import read_figures
from sluice.serving.middleware import CHAT
from unit.extras.fleet.fake_fleet import GATES, FakeProject, Fleet

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
OBJECTIVE = (
    "gates:\n  - {name: success_rate, stage: load, metric: success_rate, direction: at_least, limit: 0.99, "
    "relative_to: none, compare: value, min_samples: 20}\n"
)
# By namespace: answers, errors, questions that callers got wrong, and dollars of two providers, each minute.
SERVED = {"one-trial": (90, 10, 50, (0.0, 0.0)), "one-actual": (995, 5, 500, (0.02, 0.01))}
MINUTES = 20


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not PROMETHEUS or not PROMTOOL:
        pytest.skip("prometheus is not installed (apt-get install prometheus)")
    folder, now = tmp_path_factory.mktemp("prometheus"), int(time.time())
    lines = {"sluice_requests": ["# TYPE sluice_requests counter"], "sluice_cost": ["# TYPE sluice_cost counter"]}
    for namespace, (answered, failed, wrong, dollars) in SERVED.items():
        where = f'project="one",namespace="{namespace}"'
        series = [
            *((f'sluice_requests_total{{{where},route="{CHAT}",status="{status}"}}', each) for status, each in
              (("200", answered), ("503", failed), ("422", wrong))),
            *((f'sluice_cost_total{{{where},provider="{name}"}}', each) for name, each in
              zip("ab", dollars, strict=True)),
        ]  # fmt: skip
        for name, each in series:
            samples = [f"{name} {each * step} {now - 60 * (MINUTES - step)}" for step in range(MINUTES + 1)]
            lines[name.partition("_total")[0]] += samples
    (folder / "served.txt").write_text("\n".join([*lines["sluice_requests"], *lines["sluice_cost"], "# EOF\n"]))
    data = folder / "data"
    argv = [PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", str(folder / "served.txt"), str(data)]
    subprocess.run(argv, check=True, capture_output=True)
    (folder / "prometheus.yml").write_text("{}\n")
    url = f"http://127.0.0.1:{free_port()}"
    argv = [PROMETHEUS, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={data}"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen([*argv, f"--web.listen-address={url[7:]}"], stdout=log, stderr=log)

    def ready() -> bool:
        try:
            return bool(read_figures(url))
        except SluiceError:
            return False

    try:
        assert wait_until(ready, seconds=60), (folder / "log").read_text()
        yield url
    finally:
        running.terminate()
        running.wait(timeout=30)


@pytest.fixture
def served(fleet: Fleet) -> Fleet:
    gates = OBJECTIVE + GATES.removeprefix("gates:\n")
    for name in ("octo/one", "octo/silent"):
        fleet.add(fleet.factory.make(name, "0.3.0", {"config/gates.yaml": gates}))
    fleet.add(FakeProject("octo/gone", fleet.factory.servers, status=404))
    return fleet


def test_each_project_has_the_budget_and_the_cost_of_its_namespaces(
    served: Fleet, prometheus: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = read_status(served.file(), served.environment, served.folder / "kept", prometheus)
    one, silent, gone = found.projects
    assert [(each.namespace, each.budget and round(each.budget, 2)) for each in one.served] == [
        ("one-actual", 0.5),  # half of one in a hundred
        ("one-trial", -9.0),
    ]
    assert [round(each.dollars / MINUTES, 2) for each in one.served] == [0.03, 0.0], "of both providers"
    assert (silent.served, gone.served, found.telemetry) == ((), (), "")
    assert "-900%" in fleet_status.page(found)
    served.enter(monkeypatch, served.file())
    cli.command()(["fleet", "status", "--telemetry", prometheus], standalone_mode=False)
    head, first, *more = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["budget", "cost"]
    assert (first.split()[-2], first.split()[-1][:4]) == ("-900%", "$0.6")
    assert "    error budget: one-trial: used up, -900% left of 30 days" in more


def test_telemetry_out_of_reach_is_a_line_that_shows_no_address(served: Fleet) -> None:
    url = f"http://reader:word@127.0.0.1:{free_port()}"  # pragma: allowlist secret
    found = read_status(served.file(), served.environment, served.folder / "kept", url)
    assert [one.version for one in found.projects] == ["0.3.0", "0.3.0", ""]
    line = "telemetry: no answer from Prometheus (ConnectionRefusedError)"
    for text in (fleet_status.table(found), fleet_status.page(found)):
        assert line in text
        assert "word" not in text.replace("keyword", "")
        assert "budget" not in text
    assert found.as_dict()["telemetry"] == line.removeprefix("telemetry: ")
