"""Tables and lines of JSON come in as rows: what is read, what is a fault, what is left out and why."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from sluice import cli
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.data.contract import check
from sluice.data.data_policy import DataPolicy, PrivacyPolicy
from sluice.data.rows import load_rows
from sluice.extras.importing.import_source import _told
from sluice.extras.importing.import_table import TableImport, TableLayout, import_table, parse_columns

HEADER = "id,question,answers,doc_ids,tags\n"
ORIGIN = {"licence": "CC0-1.0", "origin": "tests"}
PIERS = "p1,What do piers stand on?,piles|piles of oak,piers,sea\n"


def write(tmp_path: Path, text: str, name: str = "table.csv", *, encoding: str = "utf-8") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def bring_in(
    source: Path, folder: Path, policy: DataPolicy = DataPolicy(), **layout: object
) -> tuple[TableImport, list[dict]]:
    out = folder.parent / "out.jsonl"
    found = import_table(source, out, folder, TableLayout(**layout), policy=policy, **ORIGIN)
    return found, [json.loads(line) for line in out.read_text().strip().split("\n")]


def faults(source: Path, folder: Path, **layout: object) -> list[str]:
    """What is told, without the folder; nothing is written then."""
    out = folder.parent / "out.jsonl"
    with pytest.raises(ValidationErrors) as error:
        import_table(source, out, folder, TableLayout(**layout), **ORIGIN)
    assert not out.exists()
    return [fault.replace(f"{source.parent}/", "") for fault in error.value.faults]


def test_a_table(tmp_path: Path, folder: Path) -> None:
    source = write(tmp_path, HEADER + PIERS + "p2,Who owns the quay?,,,\n")
    found, rows = bring_in(source, folder, tags=("imported",))
    assert rows == [
        {
            "id": "p1",
            "question": "What do piers stand on?",
            "answers": ["piles", "piles of oak"],
            "doc_ids": ["piers"],
            "tags": ["sea", "imported"],
        },
        {
            "id": "p2",
            "question": "Who owns the quay?",
            "answers": [],
            "doc_ids": [],
            "tags": ["imported", "unanswerable"],
        },
    ]
    assert found == TableImport(rows=2, unanswerable=1, located=0, ignored=(), dropped=())
    (folder.parent / "out.jsonl").replace(folder / "eval.jsonl")
    assert check(folder).faults == ()


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n;;\n".replace(";;", " ")])
def test_delimiters_byte_order_marks_and_blank_lines(tmp_path: Path, folder: Path, delimiter, start, end) -> None:
    lines = [
        ["question", "answers"],
        ['"Where, or on what; do ""piers""\nstand?"', "piles"],
        ["What is a groyne, or a weir?" if delimiter != "," else "What is a groyne?", ""],
    ]
    text = start + end.join(delimiter.join(cells) for cells in lines) + end
    _, rows = bring_in(write(tmp_path, text), folder)
    assert rows[0]["question"] == 'Where, or on what; do "piers"\nstand?'
    assert rows[0]["doc_ids"] == ["piers"]
    assert len(rows) == 2


def test_a_tsv_and_other_names_of_columns(tmp_path: Path, folder: Path) -> None:
    source = write(tmp_path, "Frage\tAntworten\tNotiz\nWhat do piers stand on?\tpiles / piles of oak\tx\n", "table.tsv")
    found, rows = bring_in(
        source, folder, columns=parse_columns(["question=Frage", "answers=Antworten"]), separator=" / "
    )
    assert found.ignored == ("Notiz",)
    assert found.located == 1
    assert rows[0]["answers"] == ["piles", "piles of oak"]


def test_ids_are_made_of_the_question_where_there_are_none(tmp_path: Path, folder: Path) -> None:
    text = "question,answers\nWhat do piers stand on?,piles\nWho owns the quay?,\n"
    _, rows = bring_in(write(tmp_path, text), folder)
    (folder.parent / "out.jsonl").unlink()
    _, again = bring_in(write(tmp_path, "question,answers\nWho owns the quay?,\n"), folder)
    assert rows[1]["id"] == again[0]["id"]
    assert len({row["id"] for row in rows}) == 2
    assert all(row["id"].startswith("q-") for row in rows)


def test_lines_of_json(tmp_path: Path, folder: Path) -> None:
    lines = [
        {"id": 7, "prompt": "What do piers stand on?", "answers": "piles", "level": 3},
        {"prompt": "Who owns\u2028the quay?", "answers": [], "expect": {"contains": ["not say"]}},
        {"prompt": "How long do piles of oak last?", "answers": ["50 years"], "doc_ids": ["piers"], "tags": ["sea"]},
        {"prompt": "Which crane is red?", "answers": None},
    ]
    text = "\ufeff" + "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    source = write(tmp_path, text, "set.jsonl")
    said = faults(source, folder, columns={"question": "prompt"})
    assert said == ["set.jsonl:7: key 'answers' is missing"]  # null is not the same as no answers
    source = write(tmp_path, "\n".join(json.dumps(line) for line in lines[:3]), "set.jsonl")
    found, rows = bring_in(source, folder, columns={"question": "prompt"})
    assert found == TableImport(rows=3, unanswerable=1, located=1, ignored=("level",), dropped=())
    assert [row["id"] for row in rows][::2] == ["7", rows[2]["id"]]
    assert rows[0]["answers"] == ["piles"]
    assert rows[1]["expect"] == {"contains": ["not say"]}
    assert load_rows(folder.parent / "out.jsonl")[1].question == "Who owns\u2028the quay?"


def test_expect_in_a_cell(tmp_path: Path, folder: Path) -> None:
    text = 'question;answers;expect\nWhat do piers stand on?;piles;"{""regex"": ""pile""}"\nWho owns it?;;\n'
    _, rows = bring_in(write(tmp_path, text), folder)
    assert rows[0]["expect"] == {"regex": "pile"}
    assert "expect" not in rows[1]


def test_all_faults_at_once_with_their_lines(tmp_path: Path, folder: Path) -> None:
    text = (
        HEADER + PIERS + 'p2,"two\nlines?",,,\n\n'  # lines 2 to 5
        "p1,What is a weir?,,,\n"  # 6: an id again
        "t1,What is a lock?,,,\n"  # 7: the id of a training row
        "p4,What is a sluice?,,\n"  # 8: a cell too few
        "p5,What is a gate?,,,,x\n"  # 9: one too many
        "p6,What is a dam?,,,\n"
    )
    said = faults(write(tmp_path, text), folder)
    assert said == [
        "table.csv:6: id 'p1' is already used at table.csv:2",
        "table.csv:7: id 't1' is already used at train.jsonl:1",
        "table.csv:8: 4 cells, but the header has 5",
        "table.csv:9: 6 cells, but the header has 5",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["table.csv:1: no rows"]),
        ("\n \n", ["table.csv:1: no rows"]),
        (HEADER, ["table.csv:1: no rows"]),
        ("id;frage;answer\n1;x;y\n", [
            "table.csv:1: no column 'answers' (did you mean 'answer'?); say it with --column answers=NAME",
            "table.csv:1: no column 'question'; say it with --column question=NAME",
        ]),
        ("question,answers,question\na,b,c\n", ["table.csv:1: two columns are named 'question'"]),
        ('question,answers\n"What is a weir?,\nx,y\n', [
            "table.csv:2: not readable from here on: unexpected end of data; is a quote not closed?"
        ]),
        ('question,answers\n"What" is a weir?,\n', [
            "table.csv:2: not readable from here on: ',' expected after '\"'; is a quote not closed?"
        ]),
        (f"question,answers\nfine?,\nlong?,{'x' * 140_000}\n", [
            "table.csv:3: not readable from here on: field larger than field limit (131072); is a quote not closed?"
        ]),
        ("question,answers,expect\na?,,{x}\n", [
            "table.csv:2: expect: not valid JSON: Expecting property name enclosed in double quotes (character 2)"
        ]),
        ('question,answers,expect\na?,,"{""regex"": ""(""}"\n', [
            "table.csv:2: expect.regex: '(' is no regular expression: missing ) at position 1"
        ]),
        ('question,answers,expect\na?,,"{""regexp"": ""x""}"\n', [
            "table.csv:2: unknown key 'expect.regexp' (did you mean 'expect.regex'?)"
        ]),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_read(tmp_path: Path, folder: Path, text: str, said: list[str]) -> None:
    assert faults(write(tmp_path, text), folder) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["set.jsonl:1: no rows"]),
        ("[1]\n{{\n", [
            "set.jsonl:1: expected an object, found list",
            "set.jsonl:2: not valid JSON: Expecting property name enclosed in double quotes (column 2)",
        ]),
        ("[" * 100_000, ["set.jsonl:1: not readable: nested too deeply"]),
        ('{"question": 3, "answers": []}', ["set.jsonl:1: question: Input should be a valid string, found 3"]),
        ('{"question": "a?", "answers": {"x": 1}}', [
            "set.jsonl:1: answers: Input should be a valid array, found {'x': 1}",
        ]),
        ('{"question": "a?"}\n{"answers": []}', [
            "set.jsonl:1: key 'answers' is missing",
            "set.jsonl:2: key 'question' is missing",
        ]),
    ],
)  # fmt: skip
def test_lines_that_cannot_be_read(tmp_path: Path, folder: Path, text: str, said: list[str]) -> None:
    assert faults(write(tmp_path, text, "set.jsonl"), folder) == said


def test_half_a_character_is_a_fault(tmp_path: Path, folder: Path) -> None:
    (told,) = faults(write(tmp_path, '{"question": "\\ud800?", "answers": []}', "set.jsonl"), folder)
    assert told.startswith("set.jsonl:1: not valid JSON: ")


def test_a_file_in_another_encoding(tmp_path: Path, folder: Path) -> None:
    source = write(tmp_path, "question;answers\nWie weit läuft es?;\n", encoding="cp1252")
    assert faults(source, folder) == ["table.csv:2: not UTF-8 text (invalid continuation byte, byte 27 of the file)"]


def test_what_would_break_the_contract_is_left_out_with_its_reason(tmp_path: Path, folder: Path) -> None:
    text = (
        "question,answers,doc_ids\n"
        "What do piers stand on?,piles,piers\n"  # 2 is kept
        "Who owns the quay?,the harbour,\n"  # 3 no document holds the answer
        "How long do piles last?,50 years,dunes\n"  # 4 not in that document
        "How long does it hold?,20 years,\n"  # 5 found in a document of the training rows
        "How often does the tide turn?,,\n"  # 6 a training question
        "What do the piers stand on?,piles,piers\n"  # 7 nearly the same as line 2
        " ,,\n"  # 8 blank, like an empty line
        "Whom to ask at first.last@" + "company.org?,,\n"  # 9
        "What lies in the harbour?,,harbours\n"  # 10 declines and names a document, which is unknown
        "What does it say?,in,\n"  # 11 in several documents
    )
    found, rows = bring_in(write(tmp_path, text), folder, DataPolicy(privacy=PrivacyPolicy(email="refuse")))
    assert [row["question"] for row in rows] == ["What do piers stand on?"]
    reasons = [str(fault).replace(f"{tmp_path}/", "") for fault in found.dropped]
    needs = "a row with answers needs the doc_ids they come from"
    assert reasons == [
        f"table.csv:3: {needs}",
        "table.csv:4: answer is not in its documents: '50 years'",
        "table.csv:4: leakage: document 'dunes' also serves training",
        "table.csv:5: leakage: document 'dunes' also serves training",
        "table.csv:6: leakage: the same question as train.jsonl:1",
        "table.csv:7: nearly the same question as table.csv:2",
        reasons[6],
        "table.csv:10: a row without answers (decline) must have no doc_ids",
        "table.csv:10: doc_ids: no such document: 'harbours'",
        f"table.csv:11: {needs}",
    ]
    assert reasons[6].startswith("table.csv:9: ")
    assert _told(found)["dropped"] == [str(fault) for fault in found.dropped]


def test_nothing_left_is_an_error(tmp_path: Path, folder: Path) -> None:
    said = faults(write(tmp_path, "question,answers\nWho owns it?,the harbour\n"), folder)
    assert said == ["table.csv:2: a row with answers needs the doc_ids they come from"]


def test_what_is_there_is_not_overwritten(tmp_path: Path, folder: Path) -> None:
    before = (folder / "eval.jsonl").read_text()
    with pytest.raises(SluiceError, match="already exists"):
        import_table(write(tmp_path, HEADER + PIERS), folder / "eval.jsonl", folder, TableLayout(), **ORIGIN)
    assert (folder / "eval.jsonl").read_text() == before


def test_personal_data_is_replaced_where_the_policy_redacts_it(tmp_path: Path, folder: Path) -> None:
    _, (row,) = bring_in(write(tmp_path, "question,answers\nWhom to ask at first.last@" + "company.org?,\n"), folder)
    assert row["question"] == "Whom to ask at [e-mail address]?"


@pytest.mark.parametrize("name", ["set.json", "set.xlsx", "set"])
def test_other_kinds_of_files_are_refused(tmp_path: Path, folder: Path, name: str) -> None:
    with pytest.raises(SluiceError, match=r"not a \.csv, \.tsv, \.jsonl file"):
        import_table(write(tmp_path, "{}", name), folder.parent / "out.jsonl", folder, TableLayout(), **ORIGIN)


def test_without_a_corpus_nothing_can_be_checked(tmp_path: Path) -> None:
    with pytest.raises(ValidationErrors, match="no such folder"):
        import_table(
            write(tmp_path, HEADER + PIERS), tmp_path / "out.jsonl", tmp_path / "data", TableLayout(), **ORIGIN
        )


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (["question"], "expected key=column"),
        (["question="], "expected key=column"),
        (["questions=Frage"], "no key 'questions' \\(did you mean 'question'\\?\\)"),
        (["id=a", "id=b"], "'id' has a column already, 'a'"),
    ],
)
def test_columns_that_mean_nothing(pairs: list[str], says: str) -> None:
    with pytest.raises(SluiceError, match=says):
        parse_columns(pairs)


def test_a_column_may_hold_an_equals_sign() -> None:
    assert parse_columns(["question=a=b"]) == {"question": "a=b"}


def test_the_command(workspace: Workspace, tmp_path: Path, monkeypatch, capsys) -> None:
    text = "Frage;Antworten;level\nWhat links to the runbook?;The alert;3\nWhat does a licence cost?;;1\nWho?;nobody;\n"
    source = write(tmp_path, text)
    (workspace.data / "train.jsonl").unlink()
    monkeypatch.chdir(workspace.root)
    for name in ("die_with_parent", "watch_parent"):
        monkeypatch.setattr(cli, name, lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    words = ["sluice", "data", "import", str(source), "out.jsonl", "--licence", "CC0-1.0", "--origin", "tests"]
    words += ["--column", "question=Frage"]
    monkeypatch.setattr(sys, "argv", words)
    assert cli.main() == 1
    assert "no column 'answers'; say it with --column answers=NAME" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*words, "--column", "answers=Antworten", "--tag", "helpdesk"])
    assert cli.main() == 0
    assert json.loads(capsys.readouterr().out) == {
        "rows": 2,
        "unanswerable": 1,
        "located": 1,
        "ignored": ["level"],
        "dropped": [f"{source}:4: a row with answers needs the doc_ids they come from"],
    }
    first, second = load_rows(workspace.root / "out.jsonl")
    assert (first.answers, first.doc_ids, first.tags) == (("The alert",), ("paging",), ("helpdesk",))
    assert second.tags == ("helpdesk", "unanswerable")
