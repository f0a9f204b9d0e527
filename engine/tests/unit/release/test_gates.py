import math
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from sluice.core.errors import GateFailed, SluiceError
from sluice.release.decision import warnings
from sluice.release.gates import Gate, Measurement, Stage, decide, load_gates, require

REPOSITORY = Path(__file__).parents[4]

RELATIVE = {"metric": "ttft_p50_ms", "relative_to": "champion", "compare": "difference", "limit": -0.03}


def gate(**changed: Any) -> Gate:
    fields = {
        "name": "g",
        "stage": "evaluation",
        "metric": "f1",
        "direction": "at_least",
        "limit": 0.5,
        "relative_to": "none",
        "compare": "value",
        "min_samples": 10,
    }
    return Gate.model_validate({**fields, **changed})


def one(rule: Gate, figure: Measurement | None, other: Measurement | None = None, *, missing: bool = False) -> Any:
    figures = {rule.metric: figure} if figure else {}
    reference = None if missing else ({rule.metric: other} if other else {})
    (verdict,) = decide([rule], rule.stage, figures, reference)
    return verdict


@pytest.mark.parametrize(
    ("direction", "value", "passed"),
    [("at_least", 0.5, True), ("at_least", 0.49, False), ("at_most", 0.5, True), ("at_most", 0.51, False)],
)
def test_an_absolute_limit_is_inclusive(direction: str, value: float, passed: bool) -> None:
    assert one(gate(direction=direction), Measurement(value, 10)).passed is passed


def test_a_difference_that_equals_the_limit_passes_despite_binary_fractions() -> None:
    assert 0.47 - 0.50 < -0.03  # the very case
    assert one(gate(**RELATIVE), Measurement(0.47, 10), Measurement(0.50, 10)).passed
    assert not one(gate(**RELATIVE), Measurement(0.469, 10), Measurement(0.50, 10)).passed


def test_a_ratio_is_taken_to_the_reference() -> None:
    rule = gate(
        stage="load", metric="total_p95_ms", direction="at_most", limit=2, relative_to="stable", compare="ratio"
    )
    assert one(rule, Measurement(1600.0, 10), Measurement(800.0, 10)).passed
    failed = one(rule, Measurement(2000.0, 10), Measurement(800.0, 10))
    assert not failed.passed
    assert failed.reason == (
        "gate g: total_p95_ms is 2000 against 800 of stable (2.50 times); limit: at most 2 times stable"
    )


@pytest.mark.parametrize(
    ("figure", "says"),
    [
        (None, "f1 was not measured"),
        (Measurement(None, 0), "f1 has no value (0 samples)"),
        (Measurement(math.nan, 30), "f1 is nan, not a finite number"),
        (Measurement(1.0, 28, errors=2), "f1 could not be computed for 2 samples"),
        (Measurement(1.0, 9), "f1 is 1, but rests on 9 samples, at least 10 are needed"),
    ],
)
def test_a_figure_that_cannot_be_judged_fails_with_its_own_reason(figure: Measurement | None, says: str) -> None:
    verdict = one(gate(), figure)
    assert not verdict.passed
    assert says in verdict.reason
    assert verdict.figure is None or math.isfinite(verdict.figure)


@pytest.mark.parametrize(
    ("other", "missing", "says"),
    [
        (None, True, "there are no results of champion"),
        (None, False, "ttft_p50_ms of champion was not measured"),
        (Measurement(0.1, 3), False, "ttft_p50_ms of champion is 0.1, but rests on 3 samples"),
        (Measurement(0.1, 30, errors=1), False, "ttft_p50_ms of champion could not be computed"),
    ],
)
def test_a_reference_that_cannot_be_used_fails(other: Measurement | None, missing: bool, says: str) -> None:
    verdict = one(gate(**RELATIVE), Measurement(1.0, 30), other, missing=missing)
    assert not verdict.passed
    assert says in verdict.reason


def test_no_gate_for_the_stage_fails() -> None:
    (verdict,) = decide([gate()], "load", {"f1": Measurement(1.0, 99)}, {})
    assert not verdict.passed
    assert "no gate is defined for stage load" in verdict.reason


def test_require_names_every_failed_gate_with_figure_limit_and_cases() -> None:
    gates = [gate(name="one"), gate(name="two", metric="em"), gate(name="three", metric="ok")]
    figures = {"f1": Measurement(0.2, 30, cases=tuple(f"q{n}" for n in range(30))), "ok": Measurement(0.9, 30)}
    verdicts = decide(gates, "evaluation", figures, None)
    with pytest.raises(GateFailed) as caught:
        require(verdicts)
    text = str(caught.value)
    assert "refused by 2 of 3 gates" in text
    assert "gate one: f1 is 0.2; limit: at least 0.5; worst cases: q0, q1, q2, q3, q4" in text
    assert "q5" not in text
    assert "gate two: em was not measured; limit: at least 0.5" in text
    assert "three" not in text
    assert caught.value.exit_code == 3
    assert len(verdicts[0].cases) == 10


def test_require_refuses_silence_and_accepts_passes() -> None:
    with pytest.raises(GateFailed, match="nothing was checked"):
        require([])
    require(decide([gate()], "evaluation", {"f1": Measurement(0.9, 30)}, None))


GATE = """\
- name: a
  stage: evaluation
  metric: f1
  direction: at_least
  limit: 0.5
  relative_to: none
  compare: value
  min_samples: 1
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gates: []\n", "the list of gates is empty"),
        ("gates:\n" + GATE + GATE, "gates.yaml:2: gates.0.name: 'a' is used more than once"),
        ("gates:\n" + GATE.replace("relative_to: none", "relative_to: champion"), "needs compare: difference"),
        (
            "gates:\n" + GATE.replace("none", "stable").replace("value", "ratio"),
            "gates.yaml:2: gates.0: stage evaluation can be relative to none or champion, not to stable",
        ),
        (
            "gates:\n" + GATE.replace("none", "champion").replace("value", "difference"),
            "gates.yaml:2: gates.0: only times are held against the champion; whether f1 is worse, comparison: says",
        ),
        (
            "gates:\n"
            + GATE.replace("f1", "a_ms").replace("none", "champion").replace("value", "ratio").replace("0.5", "0"),
            "the limit of a ratio must be above 0",
        ),
        ("gates:\n" + GATE.replace("min_samples: 1", "min_samples: 0"), "min_samples: Input should be greater"),
        ("gates:\n" + GATE.replace("evaluation", "load") + "  severity: warn\n", "warn is for figures of the stage"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    with pytest.raises(SluiceError) as caught:
        load_gates(path)
    assert says in str(caught.value)


def test_a_gate_that_warns_refuses_nothing_and_may_be_about_several_metrics(tmp_path: Path) -> None:
    path = tmp_path / "gates.yaml"
    floor = GATE.replace("name: a", "name: b").replace("f1", "right_*").replace("samples: 1", "samples: 10")
    path.write_text("gates:\n" + GATE + floor + "  severity: warn\n")
    figures = {"f1": (0.1, 30), "right_why": (0.4, 10), "right_how_to": (0.5, 10), "right_few": (0.0, 9)}
    found = warnings(path, {name: Measurement(*figure) for name, figure in figures.items()})
    assert found == ["Warning: gate b: right_why is 0.4; limit: at least 0.5"]
    assert [one.name for one in load_gates(path)] == ["a"]


def test_the_file_of_the_project_loads_and_covers_all_stages() -> None:
    gates = load_gates(REPOSITORY / "config" / "gates.yaml")
    assert {g.stage for g in gates} == set(get_args(Stage))
    beside_stable = {"load", "analysis"}  # where the canary stands beside what is live
    assert all(g.stage in beside_stable for g in gates if g.relative_to == "stable")
    assert not [g for g in gates if g.stage in beside_stable and g.relative_to == "champion"]
    assert [g.name for g in gates if g.relative_to == "champion"] == ["latency_p95_sane"]


def test_locust_can_import_it_without_heavy_libraries() -> None:
    heavy = "{'mlflow', 'torch', 'matplotlib', 'numpy', 'pandas', 'langchain'}"
    code = f"import sys, sluice.release.gates; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
