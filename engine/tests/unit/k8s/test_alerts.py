import functools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from starter_files import ROOT
from support.kubernetes.exporters import metrics

MONITORING = ROOT / "engine" / "k8s" / "components" / "monitoring"
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted(MONITORING.glob("prometheusrule*.yaml"))
    for group in yaml.safe_load(path.read_text().replace("NAMESPACE", "ours"))["spec"]["groups"]
    for rule in group["rules"]
]
CASES = yaml.safe_load((ROOT / "engine" / "tests" / "support" / "kubernetes" / "alerts.yaml").read_text())
PROMTOOL = shutil.which("promtool")

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)")


def _promtool(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [str(PROMTOOL), *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def _of_others(case: dict[str, Any]) -> dict[str, Any]:
    """Return what fires, of a namespace and a node beside ours."""
    others = (("ours", "theirs"), ('"n1', '"n2'), ("10.0.0.1", "10.0.0.2"))
    return {functools.reduce(lambda name, one: name.replace(*one), others, name): case[name] for name in case}


def _test(alert: str, case: dict[str, Any], fires: bool) -> dict[str, Any]:
    series = [{"series": name, "values": values} for name, values in case.items() if name != "minute"]
    wanted = {
        "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
        "eval_time": f"{case['minute']}m",
        "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
    }
    return {"interval": "1m", "input_series": series, "promql_expr_test": [wanted]}


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "sluice", "rules": RULES}]}))
    checked = _promtool(tmp_path, "check", "rules", "--lint-fatal", "rules.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


def test_every_alert_has_its_cases_and_says_what_to_do() -> None:
    assert set(CASES) == {rule["alert"] for rule in RULES}
    page = (ROOT / "engine" / "docs" / "reference" / "monitoring.md").read_text()
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].endswith(".")
        assert f"| `{rule['alert']}` |" in page


def test_the_cases_have_metrics_and_labels_that_are_there() -> None:
    known, unknown = metrics(), []
    for name in {name for cases in CASES.values() for one in (*cases["fires"], *cases["silent"]) for name in one}:
        metric, _, labels = name.partition("{")
        allowed = known.get(metric, set()) | {"pod"}
        unknown += [name] * (metric not in {*known, "minute"} or not set(re.findall(r'(\w+)="', labels)) <= allowed)
    assert unknown == []


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_and_does_not_fire(tmp_path: Path, alert: str) -> None:
    fires, silent = CASES[alert]["fires"], CASES[alert]["silent"]
    tests = [_test(alert, case, True) for case in fires] + [_test(alert, case, False) for case in silent]
    tests += [_test(alert, silent[0] | _of_others(case), False) for case in fires]
    rules = [rule for rule in RULES if rule["alert"] == alert]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "sluice", "rules": rules}]}))
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document))
    ended = _promtool(tmp_path, "test", "rules", "tests.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
