from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from sluice.core.atomic_files import read_json, read_jsonl, write_jsonl
from sluice.core.workspace import Workspace
from sluice.data.rows import Document, Row
from sluice.evaluation import application, evaluate_stage
from sluice.evaluation.evaluate_stage import evaluate_bundle
from sluice.evaluation.metrics.f1 import f1
from sluice.evaluation.metrics.ranking import mrr
from sluice.evaluation.recorded_scores import metrics_digest
from sluice.evaluation.summary import cases_digest
from sluice.retrieval.chunking import ChunkerSettings
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import build_index
from sluice.serving.release_parts import draft_bundle
from support.guardrails import place_guard_model
from support.serving.fakes import scripted_bundle

ROOT = Path(__file__).parents[4]


@pytest.mark.real
def test_the_real_application_is_asked_once_and_then_replayed(
    workspace: Workspace,
    documents: list[Document],
    rows: list[Row],
    models: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLUICE_CACHE", str(Workspace(ROOT).cache))
    with Embedder(models.embed) as embedder:
        build_index(documents, embedder, models.specs.embed, ChunkerSettings(), workspace.build / "index")
    place_guard_model(workspace, models.specs.embed.sha256)
    bundle = draft_bundle(workspace, adapter=None)
    first, metrics = evaluate_bundle(workspace, bundle, rows[:2])
    assert [(case["status"], case["recorded"]) for case in first] == [("answered", False)] * 2
    assert [case["retrieved"][0] for case in first] == ["chunking", "canary"]
    assert {metric.name for metric in metrics} >= {"f1", "answer_similarity"}
    monkeypatch.setattr(application, "open_model", never)
    monkeypatch.setattr(application, "open_search", never)
    again, _ = evaluate_bundle(workspace, bundle, rows[:2])
    assert again == [case | {"recorded": True} for case in first]
    monkeypatch.undo()
    monkeypatch.setattr(application, "open_model", never)
    replayed, _ = evaluate_bundle(workspace, bundle, rows[:3], replay=True)
    assert [case["status"] for case in replayed] == ["answered", "answered", "not_evaluated"]
    assert replayed[2]["scores"] == {}


def test_stored_results_are_scored_by_the_metrics_of_today(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pull request does with the records of its base, so that a new metric has figures on both sides."""
    answerable = [row for row in rows if row.answers]
    stored = tmp_path / "evaluation"
    record = {
        **{"trial": 0, "status": "answered", "declined": False, "citations": [], "recorded": True},
        **{"latency_ms": 5.0, "ttft_ms": 1.0, "prompt_tokens": 1, "completion_tokens": 1, "scores": {"old": 1.0}},
    }
    told = {"labels": {}, "assertions": {}, "errors": {}}
    write_jsonl(
        stored / "cases.jsonl",
        [
            {**record, **told, "id": row.id, "question": row.question, "expected": list(row.answers),
             "answer": row.answers[0], "retrieved": list(row.doc_ids)}
            for row in answerable
        ],
    )  # fmt: skip
    for name, played in {
        "open_metrics": lambda *_, **__: nullcontext((f1, mrr)),
        "rows_of": lambda _: answerable,
        "model_digest": lambda _: "model",
        "scores_digest": lambda *_: "digest",
    }.items():
        monkeypatch.setattr(evaluate_stage, name, played)
    evaluate_stage.rescore_results(Workspace(tmp_path), scripted_bundle(), stored)
    assert [one["scores"] for one in read_jsonl(stored / "cases.jsonl")] == [{"f1": 1.0, "mrr": 1.0}] * len(answerable)
    summary = read_json(stored / "summary.json")
    assert {name: one["samples"] for name, one in summary["metrics"].items()} == {
        "f1": len(answerable),
        "mrr": len(answerable),
    }
    assert (summary["cases_digest"], summary["scored_by"]) == (cases_digest(answerable), metrics_digest())


def never(*_: Any) -> Any:
    raise AssertionError("it was started although nothing had to be asked")
