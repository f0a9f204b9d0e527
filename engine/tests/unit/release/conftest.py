import json
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sluice.core.digests import digest_of_file
from sluice.core.workspace import Workspace
from sluice.release import staging
from sluice.release.manifest import Manifest
from sluice.release.verdict import Verdict

Make = Callable[..., tuple[Manifest, Path]]
PROMPT = """\
name: answer
description: Answers from the passages.
model: chat
messages:
  - role: user
    content: "{{passages}} {{question}}"
variables:
  - name: passages
  - name: question
"""

MODEL = """\
{role}:
  name: m
  source: file:/models/{role}.gguf
  sha256: {digest}
  licence: Apache-2.0
"""
FLOOR = """\
gates:
  - {name: f1_floor, stage: evaluation, metric: f1, direction: at_least, limit: 0.1, relative_to: none, compare: value,
     min_samples: 3, severity: warn}
"""


class Later(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return datetime.now(tz) + timedelta(hours=1)


def verdict(**changed: Any) -> Verdict:
    fields = {
        "gate": "f1_holds",
        "metric": "f1",
        "passed": True,
        "figure": 0.5,
        "limit": -0.03,
        "reference": 0.4,
        "samples": 30,
        "reason": "gate f1_holds: fine",
    }
    return Verdict.model_validate({**fields, **changed})


def case(n: int) -> dict[str, Any]:
    score = float(n > 0)
    return {
        "id": f"q{n}",
        "question": f"What is <{n}>?",
        "expected": [f"a{n}"],
        "tags": ["chunking"],
        "answer": f"a{n}" if n else "b",
        "declined": False,
        "retrieved": ["d"],
        "citations": [],
        "scores": {"f1": score, "exact_match": score, "judge": None},
        "errors": {"judge": "no answer"},
        "latency_ms": 700.0,
        "ttft_ms": 90.0,
        "prompt_tokens": 10,
        "completion_tokens": 3,
    }


def write_evaluation(folder: Path, f1: float = 0.5) -> Path:
    """Write three cases; the first is scored wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {
        "f1": {"value": f1, "samples": 3, "errors": 0, "unit": "share", "direction": "higher"},
        "latency_p95_ms": {"value": 820.0, "samples": 3, "errors": 0, "unit": "ms", "direction": "lower"},
        "judge": {"value": None, "samples": 0, "errors": 3, "unit": "share", "direction": "higher"},
    }
    summary = {"cases_digest": "c" * 64, "cases": 3, "metrics": metrics}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.json").write_text(json.dumps({"f1": f1}))
    rows = [case(n) for n in range(3)]
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def miniature(root: Path) -> Workspace:
    for folder in ("prompts", "config", "data", "build/index", "pipelines"):
        (root / folder).mkdir(parents=True)
    (root / "pipelines/dvc.yaml").write_text("stages: {train: {cmd: sluice train}}\n")
    (root / "pyproject.toml").write_text("")
    (root / "prompts/answer.prompt.yml").write_text(PROMPT)
    models = [MODEL.format(role=role, digest=digits * 32) for role, digits in (("chat", "1a"), ("embed", "2b"))]
    (root / "config/models.yaml").write_text("".join(models))
    (root / "config/service.yaml").write_text("decline: The handbook does not say.\n")
    (root / "config/gates.yaml").write_text(FLOOR)
    (root / "config/stores.yaml").write_text("not: pinned\n")
    (root / "data/eval.jsonl").write_text('{"id": "q0"}\n')
    index = root / "build/index"
    (index / "chunks.jsonl").write_text('{"id": "c1"}\n')
    (index / "vectors.npy").write_bytes(b"\x93NUMPY")
    files = {name: digest_of_file(index / name) for name in ("chunks.jsonl", "vectors.npy")}
    record = {"digest": "d" * 64, "embedder": {"source": "s"}, "chunker": {"name": "words", "size": 64}, "files": files}
    (index / "index.json").write_text(json.dumps(record))
    write_trained(root / "build")
    write_evaluation(root / "build/evaluation")
    return Workspace(root)


def write_trained(build: Path) -> None:
    for name, content in (("adapter/adapter.gguf", b"GGUF adapter"), ("guard/guard.safetensors", b"guard model")):
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_bytes(content)
    training = {"parameters": {"rank": 16}, "seconds": 200.0, "samples": 48, "loss": [[1, 3.5], [2, 2.5], [3, 1.5]]}
    (build / "adapter/training.json").write_text(json.dumps(training))


def release_of(workspace: Workspace, **changed: Any) -> tuple[Manifest, Path]:
    """Make a release of the miniature checkout; keyword arguments replace those of staging.create."""
    arguments: dict[str, Any] = {
        "evaluation": workspace.build / "evaluation",
        "verdicts": [verdict()],
        "parent": None,
        "commit": "0" * 40,
        "data_digest": "e" * 32,
        "adapter": workspace.build / "adapter" / "adapter.gguf",
    }
    return staging.create(workspace, **{**arguments, **changed})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return miniature(tmp_path / "checkout")


@pytest.fixture
def small_models(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "cache"))
    models = ""
    for role in ("chat", "embed"):
        path = tmp_path / f"{role}.gguf"
        path.write_bytes(role.encode())
        models += MODEL.format(role=role, digest=digest_of_file(path)).replace("/models/", f"{tmp_path}/")
    (tmp_path / "vocab.txt").write_text("a")
    models += f"  files: {{vocab.txt: {digest_of_file(tmp_path / 'vocab.txt')}}}\n"
    (workspace.config / "models.yaml").write_text(models)


@pytest.fixture
def make(workspace: Workspace) -> Make:
    return partial(release_of, workspace)
