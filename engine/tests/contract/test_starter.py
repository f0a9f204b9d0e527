"""The rules for the canary of any project."""

from __future__ import annotations

from pathlib import Path

from sluice.rollout.canary_plan import AnalysisStep, SetWeight, load_plan


def test_every_share_of_visitors_is_followed_by_an_analysis(root: Path) -> None:
    plan = load_plan(root / "k8s" / "base" / "rollout.yaml")
    weights = [at for at, step in enumerate(plan.steps) if isinstance(step, SetWeight)]
    for at, end in zip(weights, [*weights[1:], len(plan.steps)], strict=True):
        judged = [step for step in plan.steps[at:end] if isinstance(step, AnalysisStep)]
        assert judged, f"nothing judges the step {at}"


def test_answers_are_compared_before_a_visitor_sees_one(root: Path) -> None:
    plan = load_plan(root / "k8s" / "base" / "rollout.yaml")
    first = next(at for at, step in enumerate(plan.steps) if isinstance(step, SetWeight))
    assert "quality" in [step.template for step in plan.steps[:first] if isinstance(step, AnalysisStep)]
