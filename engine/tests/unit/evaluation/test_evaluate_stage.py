from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluice.core.workspace import Workspace
from sluice.data.rows import Document, Row
from sluice.evaluation import application
from sluice.evaluation.evaluate_stage import open_evaluation
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import ChunkerSettings, build_index
from sluice.serving.release_parts import draft_bundle
from support.guardrails import place_guard_model

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
    with open_evaluation(workspace, bundle) as (ask, metrics):
        first = [*ask(rows[:1]), *ask(rows[1:2])]  # the application stays open
    assert [(case["status"], case["recorded"]) for case in first] == [("answered", False)] * 2
    assert [case["retrieved"][0] for case in first] == ["chunking", "canary"]
    assert {metric.name for metric in metrics} >= {"f1", "answer_similarity"}
    monkeypatch.setattr(application, "open_model", never)
    monkeypatch.setattr(application, "open_search", never)
    with open_evaluation(workspace, bundle) as (ask, _):
        again = ask(rows[:2])
    assert again == [case | {"recorded": True} for case in first]
    monkeypatch.undo()
    monkeypatch.setattr(application, "open_model", never)
    with open_evaluation(workspace, bundle, replay=True) as (ask, _):
        replayed = ask(rows[:3])
    assert [case["status"] for case in replayed] == ["answered", "answered", "not_evaluated"]
    assert replayed[2]["scores"] == {}


def never(*_: Any) -> Any:
    raise AssertionError("it was started although nothing had to be asked")
