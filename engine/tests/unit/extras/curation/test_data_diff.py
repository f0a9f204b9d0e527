"""What one version of the data has that another has not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.extras.curation.data_diff import compare, read_version


@pytest.fixture
def base(folder: Path, tmp_path: Path) -> Path:
    """The data as it was."""
    return Path(shutil.copytree(folder, tmp_path / "base"))


def test_added_removed_changed_and_moved_are_told_by_id(folder: Path, base: Path, add_row: Callable[..., None]) -> None:
    lines = (folder / "train.jsonl").read_text().splitlines()
    first, moved = json.loads(lines[0]), lines[2]
    first |= {"question": "How often a day does it turn?", "tags": ["sea"]}
    (folder / "train.jsonl").write_text(f"{json.dumps(first)}\n")
    with (folder / "eval.jsonl").open("a") as stream:
        stream.write(f"{moved}\n")
    add_row("eval.jsonl", id="e9")
    (folder / "corpus" / "dunes.md").unlink()
    path = folder / "corpus" / "piers.md"
    path.write_text(path.read_text().replace("oak", "steel"))
    found = compare(read_version(base), read_version(folder)).as_dict()
    assert found["documents"] == {"added": [], "removed": ["dunes"], "changed": {"piers": ["text"]}}
    assert found["train.jsonl"] == {"added": [], "removed": ["t2", "t3"], "changed": {"t1": ["question", "tags"]}}
    assert found["eval.jsonl"] == {"added": ["e9", "t3"], "removed": [], "changed": {}}
    assert found["moved"] == {"t3": "eval.jsonl"}


def test_the_same_data_differs_in_nothing(folder: Path, base: Path) -> None:
    found = compare(read_version(base), read_version(folder))
    nothing = {"added": [], "removed": [], "changed": {}}
    assert [found.documents.as_dict(), *(one.as_dict() for one in found.rows.values())] == [nothing] * 3
