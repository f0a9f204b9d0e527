"""The engine's copy of what a project starts with, and the rules for the canary of any project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sluice.core.project import load_project
from sluice.rollout.canary_plan import AnalysisStep, SetWeight, load_plan
from starter_files import STARTER


def test_in_the_template_itself_the_copy_is_what_a_project_starts_with(root: Path, tmp_path: Path) -> None:
    project = load_project(root / "config")
    if project.template is not None or project.without:
        pytest.skip("a project has files of its own")
    subprocess.run([sys.executable, "engine/scripts/write_starter.py", str(tmp_path / "new")], cwd=root, check=True)

    def files(folder: Path) -> dict[str, str]:
        found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(folder)): path.read_text() for path in found}

    assert files(tmp_path / "new") == files(STARTER), "run engine/scripts/write_starter.py"


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
