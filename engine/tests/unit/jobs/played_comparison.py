"""The rows of a comparison of a change, and the pipeline that it runs, played."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.atomic_files import write_json
from sluice.core.workspace import Workspace
from sluice.data.rows import Row
from sluice.jobs import compare_change
from sluice.jobs.dvc_pipeline import Evaluator
from support.serving.fakes import scripted_bundle


def rows(count: int = 60) -> list[Row]:
    made = []
    for number in range(count):
        known = number % 3 > 0
        answers, documents = ((f"{number} of them",), ("a",)) if known else ((), ())
        tags = () if known else ("unanswerable",)
        made.append(
            Row(id=f"q{number}", question=f"How many of {number}?", answers=answers, doc_ids=documents, tags=tags)
        )
    return made


def record(row: Row, scores: dict[str, float | None], *, right: bool = True) -> dict[str, Any]:
    declined = not right or not row.answerable
    return {
        "id": row.id, "trial": 0, "question": row.question, "expected": list(row.answers),
        "tags": list(row.tags), "status": "answered", "answer": "no" if declined else row.answers[0],
        "declined": declined, "retrieved": ["a"], "passages": ["x"], "citations": ["a"], "latency_ms": 10.0,
        "ttft_ms": 5.0, "prompt_tokens": 9, "completion_tokens": 2, "cost": 0.001, "recorded": False,
        "scores": scores, "labels": {}, "assertions": {}, "errors": {},
    }  # fmt: skip


def reproduce(workspace: Workspace, *_: Any, **__: Any) -> None:
    write_json(workspace.build / "check" / "report.json", {"digest": "d" * 64})
    (workspace.build / "adapter").mkdir(parents=True, exist_ok=True)
    (workspace.build / "adapter" / "adapter.gguf").write_bytes(b"adapter")
    write_json(workspace.build / "index" / "index.json", {"digest": "i", "embedder": {}, "chunker": {}, "files": {}})


def play(patch: pytest.MonkeyPatch, evaluate: Callable[..., None], **others: Any) -> None:
    """Play DVC and the stages; `evaluate` gets a checkout, the file of rows and the options of `sluice evaluate`."""
    played = {
        "pull": lambda _: False,
        "data_edited": lambda _: False,
        "reproduce": reproduce,
        "draft_bundle": lambda *_, **__: scripted_bundle(),  # no metric needs its files here
    }
    for name, one in (played | others).items():
        patch.setattr(compare_change, name, one)

    def ask(self: Evaluator, asked: Path, _: Any) -> None:
        evaluate(self._workspace, asked, *self._options)

    patch.setattr(Evaluator, "ask", ask)
