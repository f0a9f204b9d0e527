from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.rollout.analysis_templates import LoadParameters, QualityParameters, parse_duration, read_parameters
from sluice.rollout.argo_models import TemplateArgument

ANALYSIS = Path(__file__).parents[4] / "engine" / "k8s" / "analysis"
SHAPES = ("steady", "staircase")


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("45", 45), (45, 45), ("0s", 0)]
)
def test_durations(text: str | int, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "500ms", "1.5h", "-3s", "3 m", "30s5m", "soon"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 30s"):
        parse_duration(text)


def test_parameters_are_the_defaults_of_the_template_and_what_a_step_says() -> None:
    load = read_parameters(ANALYSIS, "load", [TemplateArgument(name="users", value="4")], shapes=SHAPES)
    assert load == LoadParameters(users=4, seconds=180, shape="steady", answer_timeout_s=20)
    quality = read_parameters(ANALYSIS, "quality", [TemplateArgument(name="cases", value="80")], shapes=SHAPES)
    assert quality == QualityParameters(cases=80, concurrency=2, answer_timeout_s=30)


@pytest.mark.parametrize(
    ("name", "argument", "value", "said"),
    [
        ("quality", "cases", "-1", "cases is '-1', a whole number above zero"),
        ("quality", "concurrency", "0", "concurrency is '0', a whole number above zero"),
        ("quality", "answer-timeout-seconds", "30s", "answer-timeout-seconds is '30s', a whole number"),
        ("quality", "case", "1", r"declares no argument 'case' .did you mean 'cases'."),
        ("load", "duration", "0s", "duration and answer-timeout must be above zero"),
        ("qualitty", "cases", "1", r"template 'qualitty' is not one .* .did you mean 'quality'."),
    ],
)
def test_a_bad_argument_is_named(name: str, argument: str, value: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_parameters(ANALYSIS, name, [TemplateArgument(name=argument, value=value)], shapes=SHAPES)


def test_a_template_without_an_argument_is_named_with_its_line(tmp_path: Path) -> None:
    text = (ANALYSIS / "quality.yaml").read_text()
    (tmp_path / "quality.yaml").write_text(text.replace("- name: cases", "- name: rows"))
    with pytest.raises(SluiceError, match=r"quality.yaml:\d+: no argument 'cases'"):
        read_parameters(tmp_path, "quality", [], shapes=SHAPES)
