"""Grafana's own library reads the dashboards, and each query answers."""

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.serving.middleware import CHAT
from starter_files import ROOT
from support.kubernetes.exporters import metrics

DASHBOARDS = {
    path.stem: json.loads(path.read_text())
    for path in sorted((ROOT / "engine" / "k8s" / "components" / "monitoring").glob("dashboard*.json"))
}
PROMTOOL = shutil.which("promtool")
with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)")
# Of an annotation the schema leaves open what a data source adds; these are Prometheus's.
OF_PROMETHEUS = {"step", "titleFormat", "textFormat"}
# Values of labels that queries choose by. Any other label has one value.
VALUES = {
    "route": [CHAT],
    "status": ["200", "503"],
    "code": ["200", "502"],
    "service": ["sluice-stable", "ours_sluice-stable_80@kubernetescrd"],
    "stage": ["input", "output"],
    "verdict": ["passed", "blocked"],
    "phase": ["Pending"],
    "name": ["max_connections"],
    "datname": ["sluice"],
    "deployment": ["mlflow"],
    "statefulset": ["postgres"],
    "mode": ["idle", "user"],
    "fstype": ["ext4"],
    "le": ["0.1", "+Inf"],
}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_of_the_schema_of_grafana(name: str) -> None:
    dashboards = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="for tests: requirements/dev.in")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    read = dashboards.Dashboard.from_json(DASHBOARDS[name])
    written = json.loads(JSONEncoder(sort_keys=True).encode(read))
    assert sorted(_lost(DASHBOARDS[name], written)) == sorted(OF_PROMETHEUS if name == "dashboard" else ())


def _lost(ours: Any, theirs: Any) -> Iterator[str]:
    if isinstance(ours, dict):
        for key, value in ours.items():
            if key not in theirs:
                yield key
            else:
                yield from _lost(value, theirs[key])
    elif isinstance(ours, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            yield from _lost(one, other)
    elif ours != theirs:
        yield str(ours)


def _series() -> Iterator[dict[str, str]]:
    for metric, labels in metrics().items():
        rises = re.search(r"_(total|bucket|sum|count)$", metric)
        for values in itertools.product(*(VALUES.get(label, ["x"]) for label in sorted(labels))):
            chosen = ", ".join(f'{label}="{value}"' for label, value in zip(sorted(labels), values, strict=True))
            yield {"series": f"{metric}{{{chosen}}}", "values": "0+10x60" if rises else "1x60"}


def _asked(expr: str) -> str:
    return expr.replace("$__rate_interval", "5m").replace("$project", ".*").replace("$namespace", ".*")


def _promtool(folder: Path, series: list[dict[str, str]], wanted: list[dict[str, Any]]) -> str:
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": wanted}]
    (folder / "tests.yaml").write_text(json.dumps({"evaluation_interval": "1m", "rule_files": [], "tests": tests}))
    argv = [str(PROMTOOL), "test", "rules", "tests.yaml"]
    ended = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def _queries() -> dict[str, str]:
    return {
        f"{name} {panel['title']} {target['refId']}": target["expr"]
        for name, dashboard in DASHBOARDS.items()
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }


@with_promtool
def test_each_query_answers_where_its_metrics_are_there(tmp_path: Path) -> None:
    yes = [{"labels": "{}", "value": 1}]
    wanted = [
        {"expr": f"count({_asked(expr)}) > bool 0", "eval_time": "30m", "exp_samples": yes}
        for expr in _queries().values()
    ]
    assert len(wanted) > 40
    assert _promtool(tmp_path, list(_series()), wanted) == ""
    assert _promtool(tmp_path, [{"series": "other", "values": "1x60"}], wanted[:1]) != "", "an empty answer is told"


@with_promtool
def test_the_budget_that_is_left_is_what_the_errors_leave(tmp_path: Path) -> None:
    labels = f'project="p", namespace="n", route="{CHAT}"'
    series = [
        {"series": f'sluice_requests_total{{{labels}, status="200"}}', "values": "0+995x60"},
        {"series": f'sluice_requests_total{{{labels}, status="503"}}', "values": "0+5x60"},
        {"series": f'sluice_requests_total{{{labels}, status="422"}}', "values": "0+500x60"},
    ]
    series.append({**series[0], "series": series[0]["series"].replace('namespace="n"', 'namespace="without errors"')})
    panels = {panel["title"]: panel["targets"][0]["expr"] for panel in DASHBOARDS["dashboard"]["panels"]}

    def rounded(title: str, mine: float, other: float) -> dict[str, Any]:
        samples = [
            {"labels": '{project="p", namespace="n"}', "value": mine},
            {"labels": '{project="p", namespace="without errors"}', "value": other},
        ]
        return {"expr": f"round({_asked(panels[title])}, 0.01)", "eval_time": "60m", "exp_samples": samples}

    wanted = [rounded("Error budget left, of 30 days", 0.5, 1), rounded("Burn rate of the last hour", 0.5, 0)]
    assert _promtool(tmp_path, series, wanted) == ""
