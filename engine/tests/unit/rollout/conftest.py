"""Plans, gates, questions and stub services for the tests of the canary."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sluice.rehearsal.release_services import ReleaseServiceSpec
from sluice.rollout.analysis_templates import TEMPLATES
from starter_files import LOCUSTFILE, ROLLOUT

ROOT = Path(__file__).parents[4]
STUB = Path(__file__).with_name("stub_service.py")
GATES = """\
gates:
  - {name: canary_errors, stage: load, metric: error_rate, direction: at_most, limit: 0.01,
     relative_to: none, compare: value, min_samples: 5}
  - {name: canary_latency, stage: load, metric: total_p50_ms, direction: at_most, limit: 1.6,
     relative_to: stable, compare: ratio, min_samples: 5}
"""

SpecFactory = Callable[..., ReleaseServiceSpec]
RolloutWriter = Callable[..., Path]


@pytest.fixture
def locustfile() -> Path:
    return LOCUSTFILE


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
    """A release served by stub_service.py: stub("r-1", "--delay", "0.2")."""

    def make(release: str, *options: str) -> ReleaseServiceSpec:
        return ReleaseServiceSpec(
            release, [sys.executable, str(STUB), "--port", "{port}", "--release", release, *options]
        )

    return make


@pytest.fixture
def rollout_file(tmp_path: Path) -> RolloutWriter:
    """The repository's own Rollout with other steps, next to its own templates with other arguments."""

    def write(steps: str, **arguments: str) -> Path:
        rollout = yaml.safe_load(ROLLOUT.read_text())
        rollout["spec"]["strategy"]["canary"]["steps"] = yaml.safe_load(steps)
        path = tmp_path / "k8s" / "base" / "rollout.yaml"
        shutil.copytree(LOCUSTFILE.parent, tmp_path / "loadtest", dirs_exist_ok=True)
        documents = {path: rollout}
        for name in TEMPLATES:
            template = yaml.safe_load((ROOT / "engine" / "k8s" / "analysis" / f"{name}.yaml").read_text())
            for arg in template["spec"]["args"]:
                arg["value"] = arguments.get(arg["name"].replace("-", "_"), arg["value"])
            documents[tmp_path / "engine" / "k8s" / "analysis" / f"{name}.yaml"] = template
        for target, document in documents.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    return write
