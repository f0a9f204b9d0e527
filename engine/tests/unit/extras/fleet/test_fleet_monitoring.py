"""Alerts and dashboard of a fleet: promtool evaluates them over the gauges that the status writes, Grafana's library
reads the dashboard, kustomize builds the folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from sluice.cluster.manifests import parse, render, validate
from sluice.extras import fleet
from sluice.extras.fleet import status_reports
from sluice.extras.fleet.fleet_status import FleetStatus
from sluice.extras.fleet.loosened_gates import LoosenedGate
from sluice.extras.fleet.project_status import LiveRelease, ProjectStatus
from unit.k8s import test_alerts as alerts
from unit.k8s import test_dashboards as dashboards

FOLDER = Path(fleet.__file__).parent / "monitoring"
DASHBOARD = json.loads((FOLDER / "dashboard-fleet.json").read_text())
RULES = yaml.safe_load((FOLDER / "prometheusrule-fleet.yaml").read_text())["spec"]
PAGE = (alerts.ROOT / "engine/docs/reference/fleet.md").read_text()
DAY = 24 * 60


def gauges() -> dict[str, str]:
    """Every gauge as `sluice fleet status --prometheus` writes it, of a project that has something of everything."""
    one = ProjectStatus(
        repository="octo/app",
        ring="first",
        owners=("@octo/app",),
        project="app",
        version="0.2.0",
        behind=1,
        edited=("Makefile: changed",),
        loosened=(LoosenedGate(name="recall", change="limit 0.8 -> 0.5"),),
        missing=("guard",),
        broken=("extra guard: missing",),
        live=(LiveRelease(environment="trial", release="r-1", since="2026-11-02T10:00:00+00:00"),),
        verdict="promoted r-1",
        verdict_time="2026-11-02T10:00:00+00:00",
        advisories=2,
        drift=True,
    )
    text = status_reports.metrics(FleetStatus("2026-11-28T10:00:00+00:00", "octo/template", ("0.2.0", "0.3.0"), (one,)))
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def series(name: str, values: str) -> dict[str, str]:
    """The one series of a gauge, with these values."""
    (found,) = [one for one in gauges() if re.match(rf"sluice_fleet_{name}\b", one)]
    return {found: values}


def served(release: str, namespace: str = "app-trial") -> dict[str, str]:
    return {f'sluice_in_flight{{project="app", namespace="{namespace}", release="{release}"}}': f"0x{3 * DAY}"}


LIVE = series("live_info", f"1x{3 * DAY}")
CASES: dict[str, tuple[alerts.Case, list[alerts.Case]]] = {
    "SluiceFleetNotRead": (
        (DAY * 2, series("read_timestamp_seconds", f"0x{3 * DAY}")),  # at the first minute, and never again
        [(DAY * 2, series("read_timestamp_seconds", f"0+60x{3 * DAY}")), (30, {"other": "1x60"})],
    ),
    "SluiceFleetProjectUnreadable": (
        (240, series("readable", "0x300")),
        [(240, series("readable", "1x300")), (240, series("readable", "0x100 1x5 0x200"))],
    ),
    "SluiceFleetRuleBroken": (
        (DAY + 60, series("broken_rules", f"1x{2 * DAY}")),
        [(DAY + 60, series("broken_rules", f"0x{2 * DAY}")), (DAY - 60, series("broken_rules", f"1x{2 * DAY}"))],
    ),
    "SluiceFleetAdvisories": (
        (DAY + 60, series("open_advisories", f"2x{2 * DAY}")),
        [(DAY + 60, series("open_advisories", f"0x{2 * DAY}"))],
    ),
    "SluiceFleetDrift": (
        (DAY + 60, series("drift", f"1x{2 * DAY}")),
        [(DAY + 60, series("drift", f"0x{2 * DAY}"))],
    ),
    "SluiceFleetServesAnother": (
        (DAY + 60, LIVE | served("r-2")),
        [
            (DAY + 60, LIVE | served("r-1")),
            (DAY + 60, LIVE | served("r-1") | served("r-2")),  # a canary beside it
            (DAY + 60, LIVE | served("r-2", "app-actual")),  # of another environment
            (DAY + 60, LIVE),  # there is no cluster
        ],
    ),
}
MORE: dict[str, list[alerts.Case]] = {"SluiceFleetNotRead": [(90, {"other": "1x100"})]}


def test_every_gauge_is_written_and_has_one_series() -> None:
    names = [one.partition("{")[0] for one in gauges()]
    assert len(names) == len(set(names)) == 12


def test_the_rules_are_of_the_operator_s_schema_and_on_the_page() -> None:
    validate(parse(render(FOLDER)), alerts.ROOT / "engine/schemas/cluster")
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in rules} == set(CASES)
    assert [rule["alert"] for rule in rules if f"| `{rule['alert']}` |" not in PAGE] == []
    assert {rule["annotations"]["runbook"] for rule in rules} == {"engine/docs/reference/fleet.md#monitoring"}
    assert "\n## Monitoring\n" in PAGE


@dashboards.with_promtool
@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_and_does_not_fire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alert: str) -> None:
    monkeypatch.setattr(alerts, "RULES", RULES)
    monkeypatch.setattr(alerts, "CASES", CASES)
    monkeypatch.setattr(alerts, "MORE", MORE)
    alerts.test_an_alert_fires_and_does_not_fire(tmp_path, alert)
    alerts.test_the_cases_are_told_apart(tmp_path, alert)


@dashboards.with_promtool
def test_promtool_accepts_the_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "RULES", RULES)
    monkeypatch.setattr(alerts, "ALERTS", list(CASES))
    alerts.test_promtool_accepts_the_rules(tmp_path)


def test_the_dashboard_is_of_the_schema_of_grafana(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dashboards.DASHBOARDS, "fleet", DASHBOARD)
    dashboards.test_panels_lie_side_by_side("fleet")
    dashboards.test_a_dashboard_is_of_the_schema_of_grafana("fleet")


@dashboards.with_promtool
def test_each_query_answers_over_the_gauges_and_what_serves(tmp_path: Path) -> None:
    there = [*dashboards._series(), *({"series": one, "values": f"{value}x60"} for one, value in gauges().items())]
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    wanted = [
        {
            "expr": f"count({dashboards._asked(expr)}) > bool 0",
            "eval_time": "30m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for expr in queries
    ]
    assert len(wanted) == 15
    assert dashboards._promtool(tmp_path, there, wanted) == ""
    silent = dashboards._promtool(tmp_path, [{"series": "other", "values": "1x60"}], wanted)
    assert silent.count("expr:") >= 13, "of no series, all but the two that count none are empty"


def test_the_folder_is_one_that_kustomize_builds() -> None:
    rule, config = sorted(parse(render(FOLDER)), key=lambda one: str(one["kind"]), reverse=True)
    assert (rule["kind"], rule["spec"]) == ("PrometheusRule", RULES)
    assert config["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert json.loads(config["data"]["sluice-fleet.json"]) == DASHBOARD
