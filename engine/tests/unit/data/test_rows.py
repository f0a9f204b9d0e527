from pathlib import Path

import pytest

from sluice.core.atomic_files import read_json, read_jsonl
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.contract import check
from sluice.data.rows import (
    Document,
    EarlierMessage,
    Row,
    load_corpus,
    load_rows,
    scan_corpus,
    scan_rows,
    write_document,
    write_rows,
)

FIRST = (EarlierMessage(role="user", content="What first?"), EarlierMessage(role="assistant", content="This."))


def test_rows_survive_a_round_trip(tmp_path: Path) -> None:
    rows = [
        Row(id="a", question="Why?\u2028Really?", answers=("so", "thus"), doc_ids=("d",), tags=("t",)),
        Row(id="b", question="Où ?", answers=(), doc_ids=()),
        Row(id="c", question="And then?", answers=(), doc_ids=(), history=FIRST),
    ]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert load_rows(tmp_path / "rows.jsonl") == rows
    assert [row.answerable for row in rows] == [True, False, False]
    assert "history" not in rows[0].as_dict()
    assert rows[2].conversation == [*rows[2].as_dict()["history"], {"role": "user", "content": "And then?"}]
    assert rows[2].in_context == "What first?\nThis.\nAnd then?"


def test_documents_survive_a_round_trip_and_come_sorted(tmp_path: Path) -> None:
    second = Document(id="b", title="Yes: a title", licence="CC0-1.0", source="1984", text="One.\n\nTwo.")
    first = Document(id="a", title="null", licence="CC0-1.0", source="tests", text="--- not a fence")
    owned = Document(id="c", title="T", licence="CC0-1.0", source="tests", text="Ours.", tenant="acme")
    for document in (second, first, owned):
        write_document(tmp_path, document)
    assert load_corpus(tmp_path) == [first, second, owned]
    assert "tenant" not in (tmp_path / "a.md").read_text()


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not valid JSON"),
        ("[1]", "expected an object, found list"),
        (
            '{"id": "a", "question": "q", "answers": [], "docids": [], "doc_ids": []}',
            "unknown key 'docids' (did you mean 'doc_ids'?)",
        ),
        ('{"id": "a", "question": "q", "answers": []}', "key 'doc_ids' is missing"),
        ('{"id": "a", "question": "q", "answers": "x", "doc_ids": []}', "answers: Input should be a valid array"),
    ],
)
def test_a_malformed_line_is_named_and_the_others_are_read(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "ok", "question": "q", "answers": [], "doc_ids": []}\n\n' + line + "\n")
    rows, faults = scan_rows(path)
    assert [placed.value.id for placed in rows] == ["ok"]
    assert str(faults[0]).startswith(f"{path}:3: {what}")
    with pytest.raises(ValidationErrors, match=r"rows\.jsonl:3: "):
        load_rows(path)


def test_a_missing_an_empty_and_a_non_utf8_file_are_faults(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "a"}\n{"id": "caf\xe9"}\n')
    said = {name: str(scan_rows(tmp_path / f"{name}.jsonl")[1][0]) for name in ("missing", "empty", "latin")}
    assert "cannot be read: No such file" in said["missing"]
    assert said["empty"].endswith("empty.jsonl:1: no rows")
    assert "latin.jsonl:2: not UTF-8 text" in said["latin"]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("No fence.\n", 1, "no front matter"),
        ("---\nid: [a\n---\nx\n", 3, "front matter is not valid YAML"),
        ("---\n- a\n---\nx\n", 2, "front matter: expected keys and values, found list"),
        ("---\nid: d\ntitle: t\nlicense: l\nlicence: l\nsource: s\n---\nx\n", 4, "(did you mean 'licence'?)"),
        ("---\nid: d\ntitle: t\nlicence: l\n---\nx\n", 1, "key 'source' is missing"),
    ],
)
def test_bad_front_matter_is_named_with_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    (tmp_path / "d.md").write_text(text)
    documents, faults = scan_corpus(tmp_path)
    assert documents == []
    assert len(faults) == 1
    assert (faults[0].line, what in faults[0].what) == (line, True), faults[0]


def test_a_folder_without_documents_is_a_fault(tmp_path: Path) -> None:
    assert "no documents" in scan_corpus(tmp_path)[1][0].what
    with pytest.raises(ValidationErrors, match="no such folder"):
        load_corpus(tmp_path / "none")


LEVELS = 100_000
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
)
HEAD = "title: T\nlicence: CC0-1.0\nsource: made up\n"


def test_weakness_8_a_link_that_leads_out_is_a_fault_and_is_not_read(folder: Path) -> None:
    secret = folder.parent / "secret.md"
    secret.write_text(f"---\nid: secret\n{HEAD}---\n\nThe word is swordfish.\n")
    (folder / "corpus" / "inside.md").symlink_to(secret)
    (folder / "corpus" / "relative.md").symlink_to(Path("..") / ".." / "secret.md")
    said = [str(fault) for fault in check(folder).faults]
    assert sum("leads out of the folder" in fault for fault in said) == 2
    assert "swordfish" not in "".join(said)
    assert [found.value.id for found in scan_corpus(folder / "corpus")[0]] == ["dunes", "piers", "tides"]
    assert [document.id for document in load_corpus(folder / "corpus")] == ["dunes", "piers", "tides"]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (BOMB, "more than 100000 keys"),
        ("title: &t [*t]", "nested too deeply, or an alias that contains itself"),
        ("title: T\ntitle: U", "key 'title' stands here twice"),
    ],
)
def test_weakness_8_front_matter_is_bounded(folder: Path, head: str, said: str) -> None:
    (folder / "corpus" / "bomb.md").write_text(f"---\n{head}\n---\n\nText.\n")
    (fault,) = [str(fault) for fault in scan_corpus(folder / "corpus")[1]]
    assert "bomb.md:" in fault
    assert f"front matter is not valid YAML: {said}" in fault


@pytest.mark.parametrize("text", ['{"a":' * LEVELS, "9" * LEVELS, "[" * LEVELS + "]" * LEVELS])
def test_weakness_8_json_is_bounded(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.json"
    path.write_text(text)
    with pytest.raises(SluiceError, match="not valid JSON"):
        read_json(path)
    with pytest.raises(SluiceError, match=r"deep.json:1: (not valid JSON|expected an object)"):
        read_jsonl(path)
    rows, faults = scan_rows(path)
    assert rows == []
    assert len(faults) == 1
