import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.rehearsal.services import ReleaseServiceSpec
from unit.rollout.conftest import rollout_file

__all__ = ["rollout_file"]  # a fixture
STUB = Path(__file__).with_name("stub_service.py")
# Pairs of two equal releases say little of each other on a machine that is busy elsewhere.
GATES = """\
gates:
  - {name: canary_errors, stage: load, metric: error_rate, direction: at_most, limit: 0.01,
     relative_to: none, compare: value, min_samples: 5}
  - {name: canary_latency, stage: load, metric: total_p50_ms, direction: at_most, limit: 1000,
     relative_to: stable, compare: ratio, min_samples: 5}
"""

SpecFactory = Callable[..., ReleaseServiceSpec]


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    path = tmp_path / "gates.yaml"
    path.write_text(GATES)
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"id": "q1", "question": "What is a canary?"}\n{"id": "q2", "question": "What is a gate?"}\n')
    return path


@pytest.fixture
def stub() -> SpecFactory:
    def make(release: str, *more: str) -> ReleaseServiceSpec:
        return ReleaseServiceSpec(release, [sys.executable, str(STUB), "--port", "{port}", "--release", release, *more])

    return make
