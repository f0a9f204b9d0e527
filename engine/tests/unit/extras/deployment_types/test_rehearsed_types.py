"""Whole rehearsals of each type of deployment with the real Traefik and the real Locust, from the components' files.

A bad release is stopped in each, and what visitors met of it is counted from the router's access log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluice.core.atomic_files import read_json
from sluice.extras.deployment_types.deployment_types import read_type
from sluice.rehearsal import visitors
from sluice.rehearsal.analysis_runs import JobFiles
from sluice.rehearsal.rehearse import Rehearsal, rehearse
from sluice.rehearsal.release_services import ReleaseServiceSpec
from sluice.rollout.canary_plan import AnalysisStep, PauseStep, SetWeight
from starter_files import GATES, LOCUSTFILE, ROLLOUT, ROOT
from support.rollout.drill import GOOD, WAYS, Drilled, drill
from unit.rehearsal.conftest import questions, stub

__all__ = ["questions", "stub"]
pytestmark = [pytest.mark.real, pytest.mark.drill]
TIME_SCALE, CASES = 0.06, 60
SHARE_OF_THE_GROUP = 4 / 16  # engine/k8s/components/ab/group.yaml


def _drilled(kind: str, name: str, folder: Path) -> Drilled:
    typed = read_type(ROLLOUT, kind, ROOT)
    return drill(WAYS[name], folder, time_scale=TIME_SCALE, cases=CASES, typed=typed, patience=240)


def _steps(folder: Path) -> Any:
    document = read_json(folder / "rehearsal.json")
    return document["steps"], [weight for _, weight in document["weights"]]


@pytest.mark.parametrize(
    ("name", "gate"),
    [
        ("503 to one question in ten", "quality"),
        ("other words in every answer", "quality_answer_key"),
        ("writes half as fast", "canary_slowdown"),
    ],
)
def test_a_bad_release_is_not_met_by_one_visitor_of_blue_green(name: str, gate: str, tmp_path: Path) -> None:
    found = _drilled("blue-green", name, tmp_path)
    assert gate in found.stopped_by.split(", "), found.reason
    assert (found.exposed, found.outside) == (0, 0)
    assert found.requests > 0
    assert set(_steps(tmp_path)[1]) == {0}


def test_blue_green_gives_a_good_release_all_visitors_at_once(tmp_path: Path) -> None:
    found = _drilled("blue-green", GOOD.name, tmp_path)
    assert not found.stopped, found.reason
    steps, weights = _steps(tmp_path)
    assert [step["template"] for step in steps] == ["quality", "load"]
    assert weights == [0, 100]
    assert found.exposed > 0
    assert found.outside == 0


@pytest.mark.parametrize(
    ("name", "gate"),
    [
        ("503 to every question", "canary_errors"),
        ("answers 1.5 s late", "canary_slowdown"),
        ("other words in every answer", "quality_answer_key"),
    ],
)
def test_no_answer_of_a_bad_release_in_the_shadow_is_shown(name: str, gate: str, tmp_path: Path) -> None:
    found = _drilled("shadow", name, tmp_path)
    assert gate in found.stopped_by.split(", "), found.reason
    assert (found.exposed, found.outside) == (0, 0)
    _, shadow = (step for step in _steps(tmp_path)[0] if step["template"] == "copies")
    assert shadow["metrics"]["canary"]["copies"] >= 1
    if gate == "canary_errors":
        assert found.reason.startswith("copies of questions: gate canary_errors"), "copies of visitors' own questions"


@pytest.mark.parametrize(
    ("name", "gate", "most"),
    [
        ("other words in every answer", "quality_answer_key", 0.0),  # compared before the group meets it
        ("answers 1.5 s late", "canary_slowdown", SHARE_OF_THE_GROUP),
    ],
)
def test_a_bad_release_is_met_by_its_group_at_most(name: str, gate: str, most: float, tmp_path: Path) -> None:
    found = _drilled("ab", name, tmp_path)
    assert gate in found.stopped_by.split(", "), found.reason
    assert found.exposed <= most
    assert found.outside == 0


@pytest.fixture
def preferred(
    stub: Callable[..., ReleaseServiceSpec], questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Rehearsal]:
    """The test of what visitors prefer, without the steps before it that would stop a bad release."""
    monkeypatch.setattr(visitors, "_THINK_SECONDS", 0.1)

    def run(*options: str) -> Rehearsal:
        plan, deployment = read_type(ROLLOUT, "ab", ROOT)
        weight, last = next(step for step in plan.steps if isinstance(step, SetWeight)), plan.steps[-1]
        assert isinstance(last, AnalysisStep)
        return rehearse(
            replace(plan, steps=(weight, PauseStep(1.0), last)),
            stable=stub("r-old", "--delay", "0.05"),
            canary=stub("r-new", "--delay", "0.05", *options),
            files=JobFiles(GATES, questions, LOCUSTFILE, tmp_path / "state"),
            out=tmp_path / "rehearsal.json",
            time_scale=0.015,
            deployment=deployment,
        )

    return run


@pytest.mark.parametrize("options", [("--status", "503"), ("--answer", "cut"), ("--answer", "empty")])
def test_what_visitors_surely_like_less_is_stopped_at_the_first_look(
    preferred: Callable[..., Rehearsal], options: tuple[str, str]
) -> None:
    found = preferred(*options)
    assert found.verdict == "failed"
    assert found.reason.startswith("look 1 of 3: gate ab_preference: ab_preference is ")
    assert [weight for _, weight in found.weights] == [0, 100, 0]
    canary, stable = (found.steps[-1].metrics[side] for side in ("canary", "stable"))
    assert (canary["visitors"], stable["visitors"]) == (4, 12), "each of them always meets the same release"
    assert canary["good"] == 0
    assert stable["good"] == stable["answers"]
    assert 0 < found.traffic.to_canary <= SHARE_OF_THE_GROUP * found.traffic.requests + 2  # a turn that was cut short
    assert found.traffic.failed_outside_canary == 0


def test_what_visitors_like_as_much_becomes_live_after_the_last_look(preferred: Callable[..., Rehearsal]) -> None:
    found = preferred()
    assert (found.type, found.verdict, found.reason) == ("ab", "passed", "")
    assert [weight for _, weight in found.weights] == [0, 100, 100]
    assert (found.traffic.failed, found.traffic.failed_outside_canary) == (0, 0)
    (gate,) = found.steps[-1].gates
    assert (gate.gate, gate.passed) == ("ab_preference", True)
    assert found.steps[-1].metrics["stable"]["visitors"] == 12


def test_rolling_judges_by_readiness_alone(
    stub: Callable[..., ReleaseServiceSpec], questions: Path, tmp_path: Path
) -> None:
    """As engine/docs/reference/rollout.md says of it: errors stop nothing."""
    plan, deployment = read_type(ROLLOUT, "rolling", ROOT)

    def run(*options: str) -> Rehearsal:
        return rehearse(
            plan,
            stable=stub("r-old", "--delay", "0"),
            canary=stub("r-new", "--delay", "0", *options),
            files=JobFiles(GATES, questions, LOCUSTFILE, tmp_path / "state"),
            out=tmp_path / "rehearsal.json",
            time_scale=0.05,
            deployment=deployment,
        )

    assert [weight for _, weight in run().weights] == [0, 33, 50, 67, 100]
    found = run("--status", "503")
    assert (found.verdict, found.traffic.failed > 0) == ("passed", True)
    found = run("--die", "no memory")
    assert (found.verdict, found.traffic.to_canary, {weight for _, weight in found.weights}) == ("failed", 0, {0})
