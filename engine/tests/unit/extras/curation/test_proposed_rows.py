"""How proposed rows are written, and shown to the person who decides."""

from __future__ import annotations

from pathlib import Path

from sluice.data.rows import Provenance, Row, parse_row
from sluice.extras.curation.proposed_rows import PAGE, ROWS, ProposalBranch, line, lines, write

PLACE = ProposalBranch("b", "docs/p", "Mark: ", "Propose", "Rows")
ROW = Row(
    id="g-1",
    question="How löng?",
    answers=("a year",),
    doc_ids=("oak",),
    provenance=Provenance(teacher="a/b", prompt="d", document="e", seed=1),
)


def test_a_row_without_its_status_is_a_row_of_the_data_and_keeps_where_it_is_from(tmp_path: Path) -> None:
    write({ROWS: lines([ROW, ROW])}, tmp_path)
    first, second = (tmp_path / ROWS).read_text(encoding="utf-8").splitlines()
    assert first == second
    assert parse_row(first)[1] == ["is only proposed: a person reads it, corrects it, and takes its key 'status' out"]
    assert parse_row(first.replace(', "status": "proposed"', "")) == (ROW, [])
    row, faults = parse_row(first.replace(', "status": "proposed"', "").replace('"seed"', '"sed"'))
    assert row is None
    assert "unknown key 'provenance.sed' (did you mean 'provenance.seed'?)" in faults


def test_a_cell_of_the_table_is_text() -> None:
    assert line(["a | b\n<c>", 1]) == "| a \\| b \\<c\\> | 1 |"


def test_a_pull_request_says_as_much_of_the_page_as_it_may() -> None:
    assert PLACE.body("short") == "short"
    long = "a line of the page\n" * 5000
    assert len(PLACE.body(long)) < 65_536
    assert PLACE.body(long).endswith(f"a line of the page\n\nThe rest is in `docs/p/{PAGE}`.\n")
    assert PLACE.message == "Propose\n\nMark: docs/p"
