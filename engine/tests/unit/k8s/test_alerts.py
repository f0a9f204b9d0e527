"""promtool reads the alerts, and each of them fires when it should and not when it should not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[4]
RULES = yaml.safe_load((ROOT / "engine" / "k8s" / "components" / "monitoring" / "prometheusrule.yaml").read_text())[
    "spec"
]
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
            (2, {'up{service="sluice-metrics", pod="a"}': "1 0x20"}),
        ],
    ),
    "SluiceErrors": (
        (30, requests("0+54x40", "0+6x40")),
        [
            (30, requests("0+59x40", "0+1x40")),
            (30, requests("0+1x40", "0+1x40")),
            (30, requests("0+60x40", "0x40")),
            (4, requests("0+54x40", "0+6x40")),
        ],
    ),
    "SluiceSlow": (
        (30, seconds("sluice_request_seconds", f"{CHAT}, ", "0+50x40", "0+60x40")),
        [
            (30, seconds("sluice_request_seconds", f"{CHAT}, ", "0+59x40", "0+60x40")),
            (30, seconds("sluice_request_seconds", f"{CHAT}, ", "0x40", "0+1x40")),
            (30, seconds("sluice_request_seconds", 'route="/metrics", ', "0+50x40", "0+60x40")),
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
            (30, requests("0+90x40", "0+10x40") | {'sluice_shed_total{reason="rate_limit"}': "0+10x40"}),
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
            (90, {'sluice_feedback_total{mark="good"}': "0x100", 'sluice_feedback_total{mark="bad"}': "0x80 1x20"}),
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
            (60, {'sluice_in_flight{release="r-1"}': "0x200", 'sluice_in_flight{release="r-2"}': "0x200"}),
        ],
    ),
}


def _promtool(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [str(PROMTOOL), *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def _tests(alert: str, case: Case, fires: bool) -> dict[str, Any]:
    minute, series = case
    wanted = [{"labels": "{}", "value": 1}] if fires else []
    expr = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": expr, "eval_time": f"{minute}m", "exp_samples": wanted}],
    }


def _run(folder: Path, tests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    (folder / "rules.yaml").write_text(yaml.safe_dump(RULES))
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
    page = (ROOT / "engine" / "docs" / "reference" / "analysis.md").read_text()
    for group in RULES["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert rule["annotations"]["summary"].endswith(".")
            assert f"| `{rule['alert']}` |" in page


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_and_does_not_fire(tmp_path: Path, alert: str) -> None:
    fires, silent = CASES[alert]
    ended = _run(tmp_path, [_tests(alert, fires, True), *(_tests(alert, case, False) for case in silent)])
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_cases_are_told_apart(tmp_path: Path) -> None:
    """promtool says so for every alert that is silent where it should fire, and the other way round."""
    wrong = [_tests(alert, fires, False) for alert, (fires, _) in CASES.items()]
    wrong += [_tests(alert, silent[0], True) for alert, (_, silent) in CASES.items()]
    ended = _run(tmp_path, wrong)
    assert ended.returncode == 1
    said = (ended.stdout + ended.stderr).replace("\\", "")
    assert {alert: said.count(f'alertname="{alert}"') for alert in CASES} == dict.fromkeys(CASES, 2), said


def test_a_message_shows_a_number_that_people_can_read(tmp_path: Path) -> None:
    minute, series = CASES["SluiceErrors"][0]
    rule = next(rule for group in RULES["groups"] for rule in group["rules"] if rule["alert"] == "SluiceErrors")
    test = _tests("SluiceErrors", (minute, series), True)
    annotations = rule["annotations"] | {"summary": "10% of the questions end in a server error."}
    wanted = {"exp_labels": {"severity": "critical"}, "exp_annotations": annotations}
    test["alert_rule_test"] = [{"alertname": "SluiceErrors", "eval_time": f"{minute}m", "exp_alerts": [wanted]}]
    ended = _run(tmp_path, [test])
    assert ended.returncode == 0, ended.stdout + ended.stderr
