"""What a rehearsal reads of each type of deployment, and the sequential test of A/B."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import norm

from sluice.core.errors import SluiceError
from sluice.evaluation.comparison_policy import load_policy
from sluice.extras.deployment_types.deployment_types import KEY_ENDINGS, group_of, read_type
from sluice.extras.deployment_types.preference import Answers, read_preference, upper_end
from sluice.rollout.canary_plan import AnalysisStep, PauseStep, SetWeight, Step
from starter_files import GATES, ROLLOUT, ROOT, STARTER
from support.kubernetes import argo_metric

PROMTOOL = shutil.which("promtool")
TEMPLATE = ROOT / "engine" / "k8s" / "analysis" / "ab-preference.yaml"


def _told(step: Step) -> str:
    if isinstance(step, SetWeight):
        return f"{step.weight} %"
    if isinstance(step, AnalysisStep):
        return step.template
    return f"{step.seconds:g} s" if isinstance(step, PauseStep) else step.kind


CANARY = ["quality", "10 %", "setCanaryScale", "30 s", "load", "50 %", "30 s", "load"]
STEPS = {
    "blue-green": ["quality", "load"],
    "rolling": ["33 %", "30 s", "50 %", "67 %", "30 s"],
    "shadow": ["copies", "setCanaryScale", "600 s", "copies", "load", "setCanaryScale", *CANARY],
    "ab": ["setCanaryScale", "quality", "100 %", "30 s", "load", "ab-preference"],
}


@pytest.mark.parametrize("kind", STEPS)
def test_the_steps_are_those_of_the_component(kind: str) -> None:
    plan, deployment = read_type(ROLLOUT, kind, ROOT)
    assert [_told(step) for step in plan.steps] == STEPS[kind]
    assert deployment.name == kind


def test_an_unknown_type_is_named_with_the_nearest() -> None:
    with pytest.raises(SluiceError, match=r"bluegreen: not a type of deployment.*blue-green"):
        read_type(ROLLOUT, "bluegreen", ROOT)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """A checkout in which a file of a component is another one."""
    shutil.copytree(ROOT / "engine" / "k8s", tmp_path / "engine" / "k8s")
    shutil.copytree(STARTER / "loadtest", tmp_path / "loadtest")

    def change(name: str, old: str, new: str) -> Path:
        path = tmp_path / "engine" / "k8s" / "components" / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        return tmp_path

    return change


@pytest.mark.parametrize(
    ("kind", "file", "old", "new", "said"),
    [
        ("blue-green", "strategy.yaml", "autoPromotionEnabled: true", "autoPromotionEnabled: false", "autoPromotion"),
        ("blue-green", "strategy.yaml", "scaleDownDelaySeconds: 600", "autoPromotionSeconds: 600", "autoPromotionSec"),
        ("blue-green", "strategy.yaml", "templateName: load", "templateName: ttft-p95", "ttft-p95"),
        ("rolling", "strategy.yaml", "maxSurge: 1", "maxSurge: 2", "maxSurge: 1"),
        ("shadow", "steps.yaml", "templateName: load", "templateName: block-rate", "block-rate"),
        ("ab", "group.yaml", "[AEIM]$", "[AE]$", "every route names the same"),
        ("ab", "steps.yaml", "- setWeight: 100", "- setHeaderRoute: {name: x}", "setHeaderRoute"),
    ],
)
def test_what_a_rehearsal_would_skip_is_refused(
    changed: Callable[[str, str, str], Path], kind: str, file: str, old: str, new: str, said: str
) -> None:
    root = changed(f"{kind}/{file}", old, new)
    with pytest.raises(SluiceError, match=re.escape(said)):
        read_type(ROLLOUT, kind, root)


def test_every_route_of_ab_has_the_group_whose_pods_the_steps_ask_for() -> None:
    component = ROOT / "engine" / "k8s" / "components" / "ab"
    pattern = re.compile(group_of(component).split("`")[3])
    share = sum(bool(pattern.search(f"Bearer key-{ending}")) for ending in KEY_ENDINGS) / len(KEY_ENDINGS)
    (scale,) = (step for step in yaml.safe_load((component / "steps.yaml").read_text())[0]["value"][:1])
    assert scale == {"setCanaryScale": {"weight": 100 * share}}


# -- the test


def test_the_quantile_is_that_of_the_looks_and_of_the_project_s_confidence() -> None:
    analysis = read_preference(TEMPLATE)
    error = 1 - load_policy(GATES).confidence
    assert analysis.quantile == pytest.approx(norm.isf(error / analysis.looks), abs=5e-4)
    assert analysis.seconds == 3 * 600


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("canary", [10, 40])
def test_three_looks_stop_a_canary_that_is_as_good_in_one_of_a_hundred_at_most(share: float, canary: int) -> None:
    """As many scores again at each look; stable has three times as many."""
    rng, worse, times = np.random.default_rng(1), 0, 4000
    quantile = read_preference(TEMPLATE).quantile
    for _ in range(times):
        ours = rng.binomial(canary, share, 3).cumsum()
        theirs = rng.binomial(3 * canary, share, 3).cumsum()
        worse += any(
            upper_end(Answers(int(a), canary * look), Answers(int(b), 3 * canary * look), quantile) < 0
            for look, a, b in zip((1, 2, 3), ours, theirs, strict=True)
        )
    assert worse / times <= 0.01 + 3 * (0.01 * 0.99 / times) ** 0.5


def test_a_canary_that_half_of_its_visitors_like_is_surely_worse_at_ten_scores() -> None:
    quantile = read_preference(TEMPLATE).quantile
    assert upper_end(Answers(5, 10), Answers(30, 30), quantile) < 0
    assert upper_end(Answers(9, 10), Answers(30, 30), quantile) > 0, "one of ten may be chance"


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)")
@pytest.mark.parametrize(("good", "count"), [(5, 10), (10, 10), (0, 12), (31, 40)])
def test_prometheus_computes_the_same_figure(good: int, count: int, tmp_path: Path) -> None:
    template = yaml.safe_load(TEMPLATE.read_text())
    given = argo_metric.defaults(template) | {"canary-hash": "c", "stable-hash": "s"}
    (metric,) = argo_metric.resolve(template["spec"]["metrics"], given)
    series = [
        {"series": f'sluice_feedback_total{{mark="{mark}", answered_by="r-{side}"}}', "values": f"0 {number}"}
        for side, marks in (("c", (good, count - good)), ("s", (50, 4)))
        for mark, number in zip(("good", "bad"), marks, strict=True)
    ] + [
        {"series": f'sluice_in_flight{{release="r-{side}", rollouts_pod_template_hash="{side}"}}', "values": "0 0"}
        for side in "cs"
    ]
    # `increase` reaches to the ends of its range where samples nearly do: a range that ends on both has the counts.
    query = metric["provider"]["prometheus"]["query"].replace("[6h]", "[1m1s]")
    wanted = upper_end(Answers(good, count), Answers(50, 54), float(given["quantile"]))
    near = f"abs(({query}) - {wanted}) < bool 1e-6"
    expected = [{"expr": near, "eval_time": "1m", "exp_samples": [{"labels": "{}", "value": 1}]}]
    case = {"interval": "1m", "input_series": series, "promql_expr_test": expected}
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump({"tests": [case]}))
    done = subprocess.run([str(PROMTOOL), "test", "rules", str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
