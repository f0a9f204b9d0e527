from pathlib import Path

import pytest
import yaml

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.rollout.analysis_templates import parse_duration, read_parameters, sync
from sluice.rollout.argo_models import TemplateArgument

ANALYSIS = Path(__file__).parents[4] / "engine" / "k8s" / "analysis"
SHAPES = ("steady", "staircase")


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1h30m", 5400), ("45", 45), (45, 45)])
def test_durations(text: str | int, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "500ms", "-3s", "30s5m"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 30s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("name", "argument", "value", "said"),
    [
        ("quality", "cases", "-1", "cases is '-1', a whole number above zero"),
        ("quality", "case", "1", r"declares no argument 'case' .did you mean 'cases'."),
        ("load", "duration", "0s", "duration and answer-timeout must be above zero"),
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


GATES = """\
gates:
  - {name: success_rate, stage: analysis, metric: success_rate, direction: at_least, limit: 0.995,
     relative_to: none, compare: value, min_samples: 40}
  - {name: canary_errors, stage: load, metric: error_rate, direction: at_most, limit: 0.01,
     relative_to: none, compare: value, min_samples: 5}
"""


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    path = tmp_path / "gates.yaml"
    path.write_text(GATES)
    return path


def test_each_number_goes_to_the_argument_of_its_name_and_only_once(gates: Path, tmp_path: Path) -> None:
    out = tmp_path / "analysis-limits.yaml"
    assert sync(gates, ANALYSIS, out)
    (found,) = (one for one in yaml.safe_load_all(out.read_text()) if one)
    assert found["target"] == {"kind": "AnalysisTemplate", "name": "success-rate"}
    declared = [arg["name"] for arg in yaml.safe_load((ANALYSIS / "success-rate.yaml").read_text())["spec"]["args"]]
    wanted = []
    for name, value in (("limit", "0.995"), ("samples", "40")):
        place = f"/spec/args/{declared.index(f'success-rate-{name}')}"
        wanted.append({"op": "test", "path": f"{place}/name", "value": f"success-rate-{name}"})
        wanted.append({"op": "replace", "path": f"{place}/value", "value": value})
    assert yaml.safe_load(found["patch"]) == wanted
    assert not sync(gates, ANALYSIS, out)


def test_a_gate_without_its_template_or_argument_is_a_fault_and_nothing_is_written(gates: Path, tmp_path: Path) -> None:
    out, templates = tmp_path / "out.yaml", tmp_path / "analysis"
    templates.mkdir()
    text = (ANALYSIS / "success-rate.yaml").read_text()
    (templates / "success-rate.yaml").write_text(text.replace("name: success-rate-samples", "name: samples"))
    with pytest.raises(ValidationErrors, match="no argument success-rate-samples"):
        sync(gates, templates, out)
    (templates / "success-rate.yaml").unlink()
    with pytest.raises(ValidationErrors, match=r"success-rate\.yaml: no such template"):
        sync(gates, templates, out)
    assert not out.exists()
