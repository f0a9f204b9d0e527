import json
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.contract import check
from sluice.data.privacy import DataPolicy
from sluice.data.rows import Provenance, Row, load_rows
from sluice.extras.datakit.proposals import PAGE, ROWS, Proposal, Proposals, accept, write

MADE = Provenance(teacher="a/b", prompt="d", document="e", seed=1)
ROW = Row(id="g-1", question="Wie läng lasts oak?", answers=("50 years",), doc_ids=("piers",))
DECLINE = ROW.model_copy(update={"answers": (), "doc_ids": ()})


def proposed(*rows: Row, **facts: object) -> Proposals:
    return Proposals("harvest", "Rows", "From users.", proposals=[Proposal(row, facts, "seen") for row in rows])


def written(tmp_path: Path, *rows: Row) -> Path:
    write(proposed(*rows), tmp_path / "out")
    return tmp_path / "out" / ROWS


def test_a_proposed_row_is_no_part_of_the_data_until_it_is_accepted(tmp_path: Path, folder: Path) -> None:
    path = written(tmp_path, DECLINE)
    line = path.read_text(encoding="utf-8")
    for side in ("train", "eval"):
        file = folder / f"{side}.jsonl"
        before = file.read_text()
        file.write_text(before + line)
        assert [fault.path for fault in check(folder).faults] == [file]
        with pytest.raises(ValidationErrors):  # what training and evaluation read rows with
            load_rows(file)
        file.write_text(before.rstrip("\n"))
        assert accept(path, side, folder, DataPolicy()) == 1
        assert load_rows(file)[-1] == DECLINE
        assert check(folder).faults == ()
        file.write_text(before)


def test_a_row_that_a_model_wrote_keeps_where_it_is_from_and_is_not_measured_before_a_person_read_it(
    tmp_path: Path, folder: Path
) -> None:
    path = written(tmp_path, DECLINE.model_copy(update={"provenance": MADE}))
    source = {"file": "q.csv", "sha256": "a" * 64, "rows": 1, "licence": "MIT", "source": "tests"}
    path.with_name("rows.sources.jsonl").write_text(json.dumps(source) + "\n")
    with pytest.raises(SluiceError, match="a model or a template wrote"):
        accept(path, "eval", folder, DataPolicy())
    accept(path, "train", folder, DataPolicy())
    assert load_rows(folder / "train.jsonl")[-1].provenance == MADE
    assert json.loads((folder / "sources.jsonl").read_text()) == source
    read = MADE.model_copy(update={"review": "accepted"})
    path = written(tmp_path, DECLINE.model_copy(update={"id": "g-2", "question": "Who asks?", "provenance": read}))
    assert accept(path, "eval", folder, DataPolicy()) == 1


@pytest.mark.parametrize("new", [{"id": "t1"}, {"doc_ids": ["none"]}])
def test_rows_that_break_a_rule_change_nothing(tmp_path: Path, folder: Path, new: dict[str, Any]) -> None:
    path = written(tmp_path, Row.model_validate({**ROW.as_dict(), **new}))
    path.with_name("rows.sources.jsonl").write_text("{}\n")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(ValidationErrors) as raised:
        accept(path, "eval", folder, DataPolicy())
    assert raised.value.faults
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_what_is_no_row_or_no_side_is_told(tmp_path: Path, folder: Path) -> None:
    path = written(tmp_path, ROW)
    path.write_text('{"id": 1}\n{half\n[1]\n')
    for rows, side in ((path, "corpus"), (path, "eval"), (tmp_path / "none.jsonl", "eval")):
        with pytest.raises(SluiceError):
            accept(rows, side, folder, DataPolicy())


def test_what_a_user_wrote_is_text_on_the_page(tmp_path: Path) -> None:
    question = "Is | <b>this</b> [a link](http://x.example) @everyone\n`code`?"
    found = proposed(ROW.model_copy(update={"question": question}), asked=3)
    found.leave_out("asked too seldom", 2)
    write(found, tmp_path)
    page = (tmp_path / PAGE).read_text()
    (line,) = (line for line in page.splitlines() if line.startswith("| `g-1`"))
    assert "`Is ¦ <b>this</b> [a link](http://x.example) @everyone 'code'?`" in line
    assert line.count("|") == 6
    assert "- 2 × asked too seldom" in page
    assert "- `g-1`: `seen`" in page
    assert f"`sluice data accept {tmp_path}/{ROWS} eval`" in page
