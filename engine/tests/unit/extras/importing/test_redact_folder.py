"""`sluice data redact`: afterwards the data keeps the contract, and what had nothing to redact is untouched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.data.contract import check
from sluice.data.data_policy import PrivacyPolicy
from sluice.data.rows import load_rows
from sluice.extras.importing.redact_folder import redact_folder
from unit.cli.published import here, run  # noqa: F401 - a fixture

MAIL = "first.last@" + "company.org"


def test_documents_rows_and_answers_lose_the_same(folder: Path, add_row: Callable[..., None]) -> None:
    path = folder / "corpus" / "tides.md"
    path.write_text(path.read_text() + f"\nAsk {MAIL} about it.\n")
    add_row("train.jsonl", question=f"Who but {MAIL} knows?", answers=[MAIL, f"Ask {MAIL}"], doc_ids=["tides"])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(check(folder).faults) == 2
    assert redact_folder(folder, PrivacyPolicy()) == {"documents": 1, "rows": 1}
    assert check(folder).faults == ()
    row = load_rows(folder / "train.jsonl")[-1]
    assert (row.question, row.answers) == (
        "Who but [e-mail address] knows?",
        ("[e-mail address]", "Ask [e-mail address]"),
    )
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"tides.md", "train.jsonl"}
    assert redact_folder(folder, PrivacyPolicy()) == {"documents": 0, "rows": 0}


def test_what_is_refused_or_cannot_be_read_stays(folder: Path) -> None:
    (folder / "eval.jsonl").write_text(f"{MAIL}\n")
    path = folder / "corpus" / "tides.md"
    path.write_text(path.read_text() + f"\nAsk {MAIL}.\n")
    assert redact_folder(folder, PrivacyPolicy(email="refuse")) == {"documents": 0, "rows": 0}
    assert MAIL in path.read_text()
    assert (folder / "eval.jsonl").read_text() == f"{MAIL}\n"


@pytest.mark.usefixtures("here")
def test_the_command_says_how_much_it_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capsys, "redact")[1]) == {"documents": 0, "rows": 0}
