# ruff: noqa: F811 - a fixture that is imported is named by the tests

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.data.privacy import DataPolicy, PrivacyPolicy
from sluice.data.rows import scan_sources
from sluice.extras.datakit.tables import TableLayout, import_table, parse_columns
from unit.cli.published import here, run  # noqa: F401 - a fixture

HEADER = "id,question,answers,doc_ids,tags\n"
PIERS = "p1,What do piers stand on?,piles|piles of oak,piers,sea\n"


def write(tmp_path: Path, text: str, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode(errors="surrogateescape"))
    return path


def bring_in(
    source: Path, folder: Path, policy: DataPolicy = DataPolicy(), **layout: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    out = folder.parent / "out.jsonl"
    report = import_table(source, out, folder, TableLayout(**layout), licence="CC0-1.0", origin="tests", policy=policy)
    return report, [json.loads(line) for line in out.read_text().strip().split("\n")]


def faulty_lines(source: Path, folder: Path, **layout: Any) -> list[int]:
    with pytest.raises(ValidationErrors) as error:
        bring_in(source, folder, **layout)
    assert not (folder.parent / "out.jsonl").exists()
    return [int(fault.removeprefix(f"{source}:").partition(":")[0]) for fault in error.value.faults]


def test_a_table_comes_in_as_proposed_rows_with_its_source_beside_it(tmp_path: Path, folder: Path) -> None:
    source = write(tmp_path, HEADER + PIERS + "p2,Who owns the quay?,,,\n")
    report, rows = bring_in(source, folder, tags=("imported",))
    assert [list(row.values()) for row in rows] == [
        ["p1", "What do piers stand on?", ["piles", "piles of oak"], ["piers"], ["sea", "imported"], "proposed"],
        ["p2", "Who owns the quay?", [], [], ["imported", "unanswerable"], "proposed"],
    ]
    assert report == {"rows": 2, "unanswerable": 1, "located": 0, "ignored": [], "dropped": []}
    (kept,), faults = scan_sources(tmp_path / "out.sources.jsonl")
    assert (kept.file, kept.rows, kept.licence, kept.source, faults) == ("table.csv", 2, "CC0-1.0", "tests", [])


@pytest.mark.parametrize(("delimiter", "start", "end"), [(";", "", "\n"), (",", "\ufeff", "\r\n"), ("\t", "", "\n \n")])
def test_forms_of_csv(tmp_path: Path, folder: Path, delimiter: str, start: str, end: str) -> None:
    lines = [["question", "answers"], ['"Where, or on what; do ""piers""\nstand?"', "piles"], ["What is a groyne?", ""]]
    text = start + end.join(delimiter.join(cells) for cells in lines) + end
    _, rows = bring_in(write(tmp_path, text), folder)
    assert [row["question"] for row in rows] == ['Where, or on what; do "piers"\nstand?', "What is a groyne?"]


def test_a_tsv_other_names_of_columns_and_expect_in_a_cell(tmp_path: Path, folder: Path) -> None:
    text = (
        'Frage\tAntworten\tNotiz\texpect\nWhat do piers stand on?\tpiles / piles of oak\tx\t"{""regex"": ""pile""}"\n'
    )
    columns = parse_columns(["question=Frage", "answers=Antworten"])
    report, rows = bring_in(write(tmp_path, text, "table.tsv"), folder, columns=columns, separator=" / ")
    assert (report["ignored"], report["located"]) == (["Notiz"], 1)
    assert (rows[0]["answers"], rows[0]["expect"]) == (["piles", "piles of oak"], {"regex": "pile"})


def test_lines_of_json(tmp_path: Path, folder: Path) -> None:
    lines = [
        {"id": 7, "prompt": "What do piers stand on?", "answers": "piles", "level": 3},
        {"prompt": "Who owns\u2028the quay?", "answers": [], "expect": {"contains": ["not say"]}},
        {"prompt": "Which crane is red?", "answers": None},
    ]
    text = "\ufeff" + "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    source = write(tmp_path, text, "set.jsonl")
    assert faulty_lines(source, folder, columns={"question": "prompt"}) == [5]  # null is not the same as no answers
    source = write(tmp_path, text.rpartition("\n")[0], "set.jsonl")
    report, rows = bring_in(source, folder, columns={"question": "prompt"})
    assert (report["rows"], report["located"], report["ignored"]) == (2, 1, ["level"])
    assert [rows[0]["id"], rows[0]["answers"]] == ["7", ["piles"]]
    assert [rows[1]["expect"], rows[1]["question"]] == [{"contains": ["not say"]}, "Who owns\u2028the quay?"]


def test_all_faults_at_once_with_their_lines(tmp_path: Path, folder: Path) -> None:
    text = (
        HEADER + PIERS + 'p2,"two\nlines?",,,\n\n'  # lines 2 to 5
        "p1,What is a weir?,,,\n"  # 6: an id again
        "t1,What is a lock?,,,\n"  # 7: the id of a training row
        "p4,What is a sluice?,,\n"  # 8: a cell too few
        "p5,What is a gate?,,,,x\n"  # 9: one too many
        "p6,What is a dam?,,,\n"
    )
    assert faulty_lines(write(tmp_path, text), folder) == [6, 7, 8, 9]


@pytest.mark.parametrize(
    ("kind", "text", "lines"),
    [
        ("csv", HEADER, [1]),
        ("csv", "question,answers,question\na,b,c\n", [1]),
        ("csv", 'question,answers\n"What is a weir?,\nx,y\n', [2]),
        ("csv", "question;answers\nWie weit l\udce4uft es?;\n", [2]),  # not UTF-8
        ("csv", "question,answers,expect\na?,,{x}\n", [2]),
        ("jsonl", "[1]\n{{\n{}\n", [1, 2, 3]),
        ("jsonl", "[" * 100_000, [1]),
        ("jsonl", '{"question": "\\ud800?", "answers": []}', [1]),
    ],
)
def test_weakness_8_what_cannot_be_read(tmp_path: Path, folder: Path, kind: str, text: str, lines: list[int]) -> None:
    assert faulty_lines(write(tmp_path, text, f"set.{kind}"), folder) == lines


def test_what_would_break_the_contract_is_left_out_with_its_reason(tmp_path: Path, folder: Path) -> None:
    text = (
        "question,answers,doc_ids\n"
        "What do piers stand on?,piles,piers\n"  # 2 is kept
        "Who owns the quay?,the harbour,\n"  # 3 no document holds the answer
        "How long do piles last?,50 years,dunes\n"  # 4 not in that document, which serves training
        "How long does it hold?,20 years,\n"  # 5 found in a document of the training rows
        "How often does the tide turn?,,\n"  # 6 a training question
        "What do the piers stand on?,piles,piers\n"  # 7 nearly the same as line 2
        " ,,\n"  # 8 blank, like an empty line
        "Whom to ask at first.last@" + "company.org?,,\n"  # 9
        "What lies in the harbour?,,harbours\n"  # 10 declines and names a document, which is unknown
        "What does it say?,in,\n"  # 11 in several documents
    )
    report, rows = bring_in(write(tmp_path, text), folder, DataPolicy(privacy=PrivacyPolicy(email="refuse")))
    assert [row["question"] for row in rows] == ["What do piers stand on?"]
    dropped = [int(fault.removeprefix(f"{tmp_path}/table.csv:").partition(":")[0]) for fault in report["dropped"]]
    assert dropped == [3, 4, 4, 5, 6, 7, 9, 10, 10, 11]


def test_what_is_there_is_not_overwritten_and_nothing_left_is_an_error(tmp_path: Path, folder: Path) -> None:
    text = "question,answers\nWho owns it?,the harbour\n"
    assert faulty_lines(write(tmp_path, text), folder) == [2]
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(SluiceError, match="already exists"):
        bring_in(write(tmp_path, HEADER + PIERS), folder)
    assert (tmp_path / "out.jsonl").read_text() == "mine"


def test_the_command_imports_and_accepts(here: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "Frage;Antworten;level\nWhat links to the runbook?;The alert;3\nWho sells the licence?;;1\nWho?;nobody;\n"
    words = ["import", str(write(tmp_path, text)), "out.jsonl", "--licence", "CC0-1.0", "--origin", "tests"]
    words += ["--column", "question=Frage"]
    status, _, err = run(capsys, *words)
    assert (status, "--column answers=NAME" in err) == (1, True)
    status, out, err = run(capsys, *words, "--column", "answers=Antworten", "--tag", "helpdesk")
    assert status == 0, err
    report = json.loads(out)
    assert (report["rows"], report["located"], len(report["dropped"])) == (2, 1, 1)
    assert run(capsys, "accept", "out.jsonl", "eval")[0] == 0
    *_, first, second = map(json.loads, (here.data / "eval.jsonl").read_text().splitlines())
    assert (first["answers"], first["doc_ids"], first["tags"]) == (["The alert"], ["paging"], ["helpdesk"])
    assert second["tags"] == ["helpdesk", "unanswerable"]


@pytest.mark.parametrize(("name", "licence"), [("q.csv", " "), ("q.xlsx", "MIT"), ("large.csv", "MIT")])
@pytest.mark.usefixtures("here")
def test_a_source_that_cannot_be_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, licence: str
) -> None:
    for there in ("q.csv", "q.xlsx", "large.csv"):
        write(tmp_path, "question,answers\nA?,\n", there)
    os.truncate(tmp_path / "large.csv", 513 << 20)
    words = [str(tmp_path / name), str(tmp_path / "out"), "--origin", "tests", "--licence", licence]
    assert run(capsys, "import", *words)[0] == 1
    assert not list(tmp_path.glob("out*"))
