"""A whole small release: real rows, metrics, summary, gates and comparison over scripted answers; no model is asked."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from sluice.core.atomic_files import read_json, write_json
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, write_rows
from sluice.evaluation.evaluate_stage import metrics_digest
from sluice.evaluation.registry import Output, make_metrics
from sluice.evaluation.runner import run_cases
from sluice.evaluation.summary import summarise, write_results
from sluice.release.decision import decide_release
from sluice.release.manifest import Manifest
from sluice.release.release_report import write_report
from unit.release.conftest import miniature, release_of

GATES = """\
gates:
  - {name: recall_floor, stage: evaluation, metric: recall_at_5, direction: at_least, limit: 0.8, relative_to: none,
     compare: value, min_samples: 20}
  - {name: latency_sane, stage: evaluation, metric: latency_p95_ms, direction: at_most, limit: 3.0,
     relative_to: champion, compare: ratio, min_samples: 20}
comparison:
  confidence: 0.99
  power: 0.8
  resamples: 2000
  seed: 1
  minimum_cases: 20
  slices: {minimum_cases: 16, at_most: 4}
  metrics:
    f1: {decides: always, smallest: 0.02}
    decline_accuracy: {decides: always, smallest: 0.05}
    mrr: {decides: always, smallest: 0.02, deterministic: true}
"""
ROWS = [
    *(
        Row(id=f"a{n}", question=f"What is part {n}?", answers=(f"the part {n}",), doc_ids=(f"d{n}",), tags=("parts",))
        for n in range(36)
    ),
    *(Row(id=f"n{n}", question=f"Who owns part {n}?", answers=(), doc_ids=(), tags=("owners",)) for n in range(24)),
]


@dataclass(frozen=True)
class ScriptedAnswers:
    right: float

    async def ask(self, row: Row, *, trial: int) -> Output:
        draw = random.Random(f"{row.id} {trial} {self.right}")
        knows = draw.random() < self.right
        if not row.answerable:
            return Output(text="" if knows else "somebody", declined=knows, latency_ms=draw.uniform(50, 90))
        return Output(
            text=row.answers[0] if knows else "another",
            retrieved=(*row.doc_ids, "d-other"),
            citations=row.doc_ids,
            latency_ms=draw.uniform(100, 900),
            ttft_ms=draw.uniform(10, 99),
            prompt_tokens=120,
            completion_tokens=4,
            passages=(f"It says: {row.answers[0]}.",),
            cost=0.001,
        )


def evaluate(folder: Path, right: float) -> None:
    metrics = make_metrics()
    cases = asyncio.run(run_cases(ROWS, ScriptedAnswers(right), metrics, concurrency=4))
    summary = summarise(ROWS, cases, metrics) | {"recorded": 0, "scored_by": metrics_digest()}
    write_results(folder, summary, cases)


@dataclass(frozen=True)
class MadeRelease:
    workspace: Workspace
    manifest: Manifest
    folder: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    """A candidate that passed against a first release, with its report."""
    workspace = miniature(tmp_path_factory.mktemp("provenance") / "checkout")
    (workspace.config / "gates.yaml").write_text(GATES)
    # The embedder is in no cache: what a metric would need it for is left out, as where no model was fetched.
    write_rows(workspace.data / "eval.jsonl", ROWS)
    check = {"digest": "e" * 32}
    write_json(workspace.build / "check" / "report.json", check)
    evaluation = workspace.build / "evaluation"
    evaluate(evaluation, 0.8)
    parent, folder = release_of(workspace, adapter=None, verdicts=[])
    write_report(folder, live=True)
    evaluate(evaluation, 0.9)
    verdicts = decide_release(workspace.config / "gates.yaml", evaluation, folder / "evaluation")
    training = workspace.build / "adapter" / "training.json"
    write_json(training, read_json(training) | {"base_sha256": "1a" * 32, "data_digest": "f" * 64})
    manifest, folder = release_of(workspace, parent=parent.id, verdicts=verdicts, commit="c" * 40)
    write_json(folder / "stages.json", [{"stage": "train", "seconds": 171.0, "cached": False}])
    write_report(folder, live=True)
    return MadeRelease(workspace, manifest, folder)
