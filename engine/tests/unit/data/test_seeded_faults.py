"""Twelve faults that data has in practice, each seeded into a sound set: found with file and line, alone and together.

Secrets are put together from parts, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import ValidationErrors
from sluice.data.contract import check, check_or_raise

AWS = "AKIA" + "QWERTYUIOPASDFGH"
HEAD = "---\nid: {name}\ntitle: T\nlicence: CC0-1.0\nsource: tests\n---\n\n"


def row(file: str, **fields: Any) -> Callable[[Path], None]:
    """Appends a row; a field that is None is left out."""

    def seed(data: Path) -> None:
        full = {
            "id": f"new-{fields.get('question', '')[:12]}".replace(" ", "-"),
            "answers": [],
            "doc_ids": [],
            **fields,
        }
        with (data / file).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({key: value for key, value in full.items() if value is not None}) + "\n")

    return seed


def document(name: str, text: str | bytes, head: str = HEAD) -> Callable[[Path], None]:
    content = head.format(name=name).encode() + (text if isinstance(text, bytes) else text.encode())
    return lambda data: (data / "corpus" / f"{name}.md").write_bytes(content) and None


SEEDS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "duplicate": (
        row("train.jsonl", question="Which plant holds a dune?", answers=["wind"], doc_ids=["dunes"]),
        "train.jsonl:LAST",
        "the same question as train.jsonl:2",
    ),
    "leak across the split": (
        row("eval.jsonl", question="What is moved by the wind?", answers=["Dunes"], doc_ids=["dunes"]),
        "eval.jsonl:LAST",
        "leakage: document 'dunes' also serves the training row at train.jsonl:2",
    ),
    "answer not in the document": (
        row("train.jsonl", question="When is the spring tide?", answers=["at noon"], doc_ids=["tides"]),
        "train.jsonl:LAST",
        "answer is not in its documents: 'at noon'",
    ),
    "bad encoding": (
        document("latin", "A fine text.\nCaf\xe9 on the pier.".encode("latin-1")),
        "corpus/latin.md:9",
        "not UTF-8 text (invalid continuation byte, byte 75 of the file)",
    ),
    "personal data": (
        row("train.jsonl", question="Is first.last@" + "company.org at the pier?"),
        "train.jsonl:LAST",
        "personal data: e-mail address fi… (22 characters)",
    ),
    "secret": (
        document("keys", f"The key of the lock.\nIt is {AWS} and was posted.\n"),
        "corpus/keys.md:9",
        "secret: AWS Access Key AK… (20 characters)",
    ),
    "empty row": (row("train.jsonl", question="", id="blank"), "train.jsonl:LAST", "question is blank"),
    "wrong id": (
        document("other", "A mole is a wall in the sea.", HEAD.replace("{name}", "mole")),
        "corpus/other.md:8",
        "id 'mole' does not equal the file name",
    ),
    "oversized document": (
        document("dump", "A word of many. " * 40_000),
        "corpus/dump.md:1",
        "626 KiB, a document has at most 512: split it",
    ),
    "licence missing": (
        document("free", "A buoy marks the channel.", HEAD.replace("licence: CC0-1.0\n", "")),
        "corpus/free.md:1",
        "front matter: key 'licence' is missing",
    ),
    "schema change": (
        row("train.jsonl", question="What changed?", answers=None, answer="the key"),
        "train.jsonl:LAST",
        "unknown key 'answer' (did you mean 'answers'?)",
    ),
}


def place_in(data: Path, place: str) -> str:
    """With the number of the last line, where the place says so."""
    file, _, line = place.partition(":")
    return f"{file}:{len((data / file).read_text().splitlines()) if line == 'LAST' else line}"


def said(data: Path) -> list[str]:
    return [str(fault).removeprefix(f"{data}/") for fault in check(data).faults]


@pytest.mark.parametrize("name", SEEDS)
def test_a_seeded_fault_is_found_with_file_and_line(folder: Path, name: str) -> None:
    seed, place, what = SEEDS[name]
    assert said(folder) == []
    seed(folder)
    found = said(folder)
    assert any(fault.startswith(f"{place_in(folder, place)}: {what}") for fault in found), found
    assert {fault.partition(":")[0] for fault in found} == {place.partition(":")[0]}, "nothing else is blamed"


def test_all_seeded_faults_are_found_at_once(folder: Path) -> None:
    stores = []
    for seed, place, what in SEEDS.values():
        seed(folder)
        stores.append(f"{place_in(folder, place)}: {what}")
    with pytest.raises(ValidationErrors) as raised:
        check_or_raise(folder)
    found = [fault.removeprefix(f"{folder}/") for fault in raised.value.faults]
    assert [place for place in stores if not any(fault.startswith(place) for fault in found)] == []
