"""The limits of the gates, written as patches that kustomize applies to the templates."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from sluice.cluster.manifests import parse, render
from sluice.core.errors import ValidationErrors
from sluice.rollout.analysis_templates import sync

GATES = """\
gates:
  - {name: success_rate, stage: analysis, metric: success_rate, direction: at_least, limit: 0.995,
     relative_to: none, compare: value, min_samples: 40}
  - {name: canary_errors, stage: load, metric: error_rate, direction: at_most, limit: 0.01,
     relative_to: none, compare: value, min_samples: 5}
"""
ANALYSIS = Path(__file__).parents[4] / "engine" / "k8s" / "analysis"


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


def test_without_a_gate_of_the_stage_nothing_is_changed(gates: Path, tmp_path: Path) -> None:
    gates.write_text(GATES.replace("stage: analysis", "stage: load"))
    assert sync(gates, ANALYSIS, tmp_path / "out.yaml")
    base = tmp_path / "kustomization.yaml"
    base.write_text(f"resources: [{os.path.relpath(ANALYSIS, tmp_path.resolve())}]\ntransformers: [out.yaml]\n")
    assert parse(render(tmp_path)) == parse(render(ANALYSIS))


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
