"""The limits of the gates, written into templates."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import Faults
from sluice.rollout.limits import sync

GATES = """\
gates:
  - {name: success_rate, stage: analysis, metric: success_rate, direction: at_least, limit: 0.995,
     relative_to: none, compare: value, min_samples: 40}
  - {name: canary_errors, stage: load, metric: error_rate, direction: at_most, limit: 0.01,
     relative_to: none, compare: value, min_samples: 5}
"""
TEMPLATE = """\
spec:
  args:
    - name: window   # stays
      value: "2m"
    - name: success-rate-limit
      value: "0"     # stays
    - name: success-rate-samples
      value: "0"
"""


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    path = tmp_path / "gates.yaml"
    path.write_text(GATES)
    return path


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "analysis" / "success-rate.yaml"
    path.parent.mkdir()
    path.write_text(TEMPLATE)
    return path


def test_only_the_numbers_change_and_only_once(gates: Path, template: Path) -> None:
    assert sync(gates, template.parent) == [template]
    wanted = TEMPLATE.replace('"0"     #', '"0.995"     #').replace(
        'samples\n      value: "0"', 'samples\n      value: "40"'
    )
    assert template.read_text() == wanted
    assert sync(gates, template.parent) == []


def test_a_gate_without_its_template_or_argument_is_a_fault_and_nothing_is_written(gates: Path, template: Path) -> None:
    template.write_text(TEMPLATE.replace("success-rate-samples", "success-rate-sample"))
    before = template.read_text()
    with pytest.raises(Faults, match="no argument success-rate-samples"):
        sync(gates, template.parent)
    assert template.read_text() == before
    template.unlink()
    with pytest.raises(Faults, match=r"success-rate\.yaml: no such template"):
        sync(gates, template.parent)
