"""The importer of a source is chosen by what it is, and nothing comes in without a licence and a source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.data.data_policy import DataPolicy
from sluice.data.row_sources import scan_sources
from sluice.extras.importing.import_source import import_any
from sluice.extras.importing.import_table import TableLayout


def bring(source: Path, out: Path, folder: Path, **changed: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"licence": "CC0-1.0", "origin": "tests", "train_articles": 1, **changed}
    return import_any(source, out, data=folder, layout=TableLayout(), policy=DataPolicy(), **options)


def test_a_table_comes_in_with_its_source_beside_it(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "q.csv"
    source.write_text("question,answers\nWhat lasts 50 years?,Piles of oak\n")
    assert bring(source, tmp_path / "new.jsonl", folder)["rows"] == 1
    (kept,), faults = scan_sources(tmp_path / "new.sources.jsonl")
    assert (kept.file, kept.rows, kept.licence, kept.source, faults) == ("q.csv", 1, "CC0-1.0", "tests", [])


def test_a_folder_and_a_squad_file_come_in(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.md").write_text("A buoy marks the channel.")
    assert bring(tmp_path / "site", tmp_path / "corpus", folder)["documents"] == 1
    paragraphs = [
        {
            "context": f"{what} is deep.",
            "qas": [{"id": what, "question": f"Is {what} deep?", "answers": [{"text": what}]}],
        }
        for what in ("Scapa", "Cromarty")
    ]
    (tmp_path / "squad.json").write_text(json.dumps({"data": [{"paragraphs": [one]} for one in paragraphs]}))
    assert bring(tmp_path / "squad.json", tmp_path / "set", folder)["counts"]["documents"] == 2


@pytest.mark.parametrize(
    ("name", "changed", "what"),
    [
        ("q.csv", {"licence": " "}, "--licence is blank"),
        ("q.csv", {"origin": ""}, "--origin is blank"),
        ("q.xlsx", {}, "not a folder, and not one of .csv, .tsv, .jsonl, .json, .md"),
        ("none.csv", {}, "no such file or folder"),
    ],
)
def test_a_source_that_cannot_be_taken_is_told(
    folder: Path, tmp_path: Path, name: str, changed: dict[str, str], what: str
) -> None:
    if name.startswith("q"):
        (tmp_path / name).write_text("question,answers\nA?,b\n")
    with pytest.raises(SluiceError, match=what):
        bring(tmp_path / name, tmp_path / "out", folder, **changed)
    assert not list(tmp_path.glob("out*"))
