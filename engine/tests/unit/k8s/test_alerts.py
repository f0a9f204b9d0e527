"""promtool reads the alerts, and each of them fires when it should and not when it should not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.kubernetes import infrastructure_alerts

ROOT = Path(__file__).parents[4]
MONITORING = ROOT / "engine" / "k8s" / "components" / "monitoring"
RULES = {
    "groups": [
        group
        for path in sorted(MONITORING.glob("prometheusrule*.yaml"))
        for group in yaml.safe_load(path.read_text())["spec"]["groups"]
    ]
}
ALERTS = [rule["alert"] for group in RULES["groups"] for rule in group["rules"]]
PROMTOOL = shutil.which("promtool")

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)")

CHAT = 'route="/v1/chat/completions"'


def requests(ok: str, broken: str) -> dict[str, str]:
    """Counters a minute apart."""
    return {
        f'sluice_requests_total{{{CHAT}, status="200"}}': ok,
        f'sluice_requests_total{{{CHAT}, status="503"}}': broken,
    }


def seconds(metric: str, labels: str, fast: str, slow: str) -> dict[str, str]:
    """`fast` answers within a second, `slow` ones in 30 s."""
    return {
        f'{metric}_bucket{{{labels}le="1"}}': fast,
        f'{metric}_bucket{{{labels}le="30"}}': slow,
        f'{metric}_bucket{{{labels}le="+Inf"}}': slow,
        f"{metric}_count{{{labels}}}": slow,
    }


# Alert -> (minute, series with which it fires), (minute, series with which it does not). Values are each minute's.
Case = tuple[int, dict[str, str]]
CASES: dict[str, tuple[Case, list[Case]]] = {
    "SluiceDown": (
        (10, {'up{service="sluice-metrics", pod="a"}': "1 0x20", 'up{service="other"}': "1x20"}),
        [
            (10, {'up{service="sluice-metrics", pod="a"}': "0x20", 'up{service="sluice-metrics", pod="b"}': "1x20"}),
        ],
    ),
    "SluiceErrors": (
        (30, requests("0+54x40", "0+6x40")),
        [
            (30, requests("0+59x40", "0+1x40")),
        ],
    ),
    "SluiceSlow": (
        (30, seconds("sluice_request_seconds", f"{CHAT}, ", "0+50x40", "0+60x40")),
        [
            (30, seconds("sluice_request_seconds", f"{CHAT}, ", "0+59x40", "0+60x40")),
        ],
    ),
    "SluiceFirstTokenSlow": (
        (30, seconds("sluice_time_to_first_token_seconds", "", "0+50x40", "0+60x40")),
        [(30, seconds("sluice_time_to_first_token_seconds", "", "0+59x40", "0+60x40"))],
    ),
    "SluiceFull": (
        (30, requests("0+90x40", "0+10x40") | {'sluice_shed_total{reason="queue_full"}': "0+10x40"}),
        [
            (30, requests("0+99x40", "0+1x40") | {'sluice_shed_total{reason="queue_full"}': "0+1x40"}),
        ],
    ),
    "SluiceProviderOpen": (
        (
            10,
            {
                'sluice_provider_open{provider="a", pod="1"}': "1x20",
                'sluice_provider_open{provider="a", pod="2"}': "0x20",
            },
        ),
        [(10, {'sluice_provider_open{provider="a"}': "1x3 0x20"})],
    ),
    "SluiceBlocking": (
        (
            40,
            {
                'sluice_guard_verdicts_total{stage="input", verdict="passed"}': "0+70x50",
                'sluice_guard_verdicts_total{stage="input", verdict="blocked"}': "0+30x50",
            },
        ),
        [
            (
                40,
                {
                    'sluice_guard_verdicts_total{stage="input", verdict="passed"}': "0+90x50",
                    'sluice_guard_verdicts_total{stage="input", verdict="blocked"}': "0+10x50",
                },
            )
        ],
    ),
    "SluiceDissatisfied": (
        (90, {'sluice_feedback_total{mark="good"}': "0+1x100", 'sluice_feedback_total{mark="bad"}': "0+2x100"}),
        [
            (90, {'sluice_feedback_total{mark="good"}': "0+2x100", 'sluice_feedback_total{mark="bad"}': "0+1x100"}),
        ],
    ),
    "SluiceTelemetryLost": (
        (40, {'sluice_telemetry_dropped_total{exporter="otlp", reason="unreachable"}': "0+5x50"}),
        [(40, {'sluice_telemetry_dropped_total{exporter="otlp", reason="unreachable"}': "5x50"})],
    ),
    "SluiceCanaryStuck": (
        (150, {'sluice_in_flight{release="r-1"}': "0x200", 'sluice_in_flight{release="r-2"}': "0x200"}),
        [
            (
                150,
                {
                    'sluice_in_flight{release="r-1", pod="a"}': "0x200",
                    'sluice_in_flight{release="r-1", pod="b"}': "0x200",
                },
            ),
        ],
    ),
    "SluiceBudgetBurnsFast": (
        (60, requests("0+80x60", "0+20x60")),
        [
            (60, requests("0+95x60", "0+5x60")),
        ],
    ),
    "SluiceBudgetBurnsSlowly": (
        (200, requests("0+96x200", "0+4x200")),
        [
            (200, requests("0+99.5x200", "0+0.5x200")),  # over since more than six hours
        ],
    ),
} | infrastructure_alerts.CASES
# What else an alert fires for.
MORE: dict[str, list[Case]] = {
    "SluiceDown": [
        (
            10,
            {
                'kube_service_info{namespace="staging", service="sluice-metrics"}': "1x20",
                'kube_service_info{namespace="production", service="sluice-metrics"}': "1x20",
                'up{namespace="staging", service="sluice-metrics"}': "1x20",
            },
        )
    ],
    # 9 %: more than six hours allow, less than one hour does.
    "SluiceBudgetBurnsFast": [(420, requests("0+91x500", "0+9x500"))],
    "SluiceBudgetBurnsSlowly": [(400, requests("0+98x400", "0+2x400"))],
    **infrastructure_alerts.MORE,
}


def _promtool(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [str(PROMTOOL), *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def _tests(alert: str, case: Case, fires: bool) -> dict[str, Any]:
    minute, series = case
    wanted = [{"labels": "{}", "value": 1}] if fires else []
    expr = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": expr, "eval_time": f"{minute}m", "exp_samples": wanted}],
    }


def _run(folder: Path, tests: list[dict[str, Any]], *alerts: str) -> subprocess.CompletedProcess[str]:
    """With the rules of these alerts alone, which takes promtool less time; without any, all of them."""
    rules = [rule for group in RULES["groups"] for rule in group["rules"] if not alerts or rule["alert"] in alerts]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "sluice", "rules": rules}]}))
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(document))
    return _promtool(folder, "test", "rules", "tests.yaml")


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    checked = _promtool(tmp_path, "check", "rules", "--lint-fatal", "rules.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(ALERTS)} rules found" in checked.stdout


def test_every_alert_has_its_cases_and_says_what_to_do() -> None:
    assert set(CASES) == set(ALERTS)
    assert set(MORE) <= set(CASES)
    page = (ROOT / "engine" / "docs" / "reference" / "monitoring.md").read_text()
    for group in RULES["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert rule["annotations"]["summary"].endswith(".")
            assert f"| `{rule['alert']}` |" in page


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_and_does_not_fire(tmp_path: Path, alert: str) -> None:
    fires, silent = CASES[alert]
    firing = [fires, *MORE.get(alert, ())]
    tests = [_tests(alert, case, True) for case in firing] + [_tests(alert, case, False) for case in silent]
    ended = _run(tmp_path, tests, alert)
    assert ended.returncode == 0, ended.stdout + ended.stderr
