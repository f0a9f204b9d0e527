"""A tiny data set that keeps the contract; tests break it one way at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DOCUMENTS = {
    "tides": "The tide turns twice a day. A spring tide follows the full moon.",
    "dunes": "Dunes move with the wind. Marram grass holds them in place for 20 years.",
    "piers": "A pier stands on piles. Piles of oak last 50 years in salt water.",
}
TRAIN = [
    {"id": "t1", "question": "How often does the tide turn?", "answers": ["twice a day"], "doc_ids": ["tides"]},
    {"id": "t2", "question": "Which plant holds a dune?", "answers": ["Marram grass"], "doc_ids": ["dunes"]},
    {"id": "t3", "question": "Who painted the harbour wall?", "answers": [], "doc_ids": [], "tags": ["unanswerable"]},
]
EVALUATION = [
    {"id": "e1", "question": "What does a pier stand on?", "answers": ["piles"], "doc_ids": ["piers"], "tags": ["sea"]},
    {"id": "e2", "question": "Is the ferry late today?", "answers": [], "doc_ids": []},
]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound data folder."""
    data = tmp_path / "data"
    (data / "corpus").mkdir(parents=True)
    for name, text in DOCUMENTS.items():
        head = f"---\nid: {name}\ntitle: On {name}\nlicence: CC0-1.0\nsource: tests\n---\n\n"
        (data / "corpus" / f"{name}.md").write_text(head + text + "\n", encoding="utf-8")
    write_lines(data / "train.jsonl", TRAIN)
    write_lines(data / "eval.jsonl", EVALUATION)
    return data


@pytest.fixture
def add_row(folder: Path) -> Callable[..., None]:
    """Appends one row to train.jsonl or eval.jsonl."""

    def add(file: str, **row: Any) -> None:
        full = {"id": "new", "question": "What is a groyne?", "answers": [], "doc_ids": [], **row}
        with (folder / file).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(full) + "\n")

    return add
