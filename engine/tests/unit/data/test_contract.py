import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.contract import check, check_files, check_or_raise, data_digest
from sluice.data.privacy import DataPolicy, DocumentPolicy


def said(folder: Path, policy: DataPolicy = DataPolicy()) -> list[str]:
    return [str(fault).removeprefix(f"{folder}/") for fault in check(folder, policy).faults]


def test_a_sound_set_passes_with_its_counts(folder: Path) -> None:
    report = check_or_raise(folder)
    assert report.faults == ()
    assert report.as_dict()["counts"] == {
        "documents": 3,
        "words": 41,
        "train": 3,
        "evaluation": 2,
        "unanswerable": 2,
        "train_unanswerable": 1,
        "evaluation_unanswerable": 1,
    }
    assert report.digest == data_digest(folder)


def test_the_digest_is_over_names_and_content_only(folder: Path, tmp_path: Path) -> None:
    before = data_digest(folder)
    moved = folder.rename(tmp_path / "elsewhere")
    assert data_digest(moved) == before
    (moved / "corpus" / "tides.md").rename(moved / "corpus" / "waves.md")
    assert data_digest(moved) != before


MAIL = "first.last@" + "company.org"
LEAK = "leakage: document 'dunes' also serves the training row at train.jsonl:2"


@pytest.mark.parametrize(
    ("place", "row", "what"),
    [
        ("train.jsonl:4", {"question": "  "}, "question is blank"),
        ("train.jsonl:4", {"id": "t1"}, "id 't1' is already used at train.jsonl:1"),
        ("train.jsonl:4", {"id": "a b"}, "id is blank or has white space"),
        ("train.jsonl:4", {"doc_ids": ["dunes"]}, "a row without answers (decline) must have no doc_ids"),
        ("train.jsonl:4", {"answers": ["x"], "doc_ids": ["reef"]}, "doc_ids: no such document: 'reef'"),
        ("train.jsonl:4", {"answers": ["oak"], "doc_ids": ["dunes"]}, "answer is not in its documents: 'oak'"),
        ("train.jsonl:4", {"answers": ["wind", " "], "doc_ids": ["dunes"]}, "an answer is blank"),
        ("train.jsonl:4", {"answers": ["wind", "wind"], "doc_ids": ["dunes"]}, "the same answer twice"),
        ("train.jsonl:4", {"question": "Who painted the harbour wall"}, "the same question as train.jsonl:3"),
        (
            "eval.jsonl:3",
            {"question": "Who has painted the harbour wall?"},
            "leakage: nearly the same question as train.jsonl:3",
        ),
        ("eval.jsonl:3", {"answers": ["wind"], "doc_ids": ["dunes"]}, LEAK),
        ("eval.jsonl:3", {"question": f"Is {MAIL} at home?"}, "personal data: e-mail address fi… (22 characters)"),
    ],
)
def test_faulty_rows(folder: Path, add_row: Callable[..., None], place: str, row: dict[str, object], what: str) -> None:
    add_row(place.partition(":")[0], **row)
    assert f"{place}: {what}" in said(folder)


def test_faults_of_documents_are_told(folder: Path) -> None:
    head = "---\nid: {}\ntitle: {}\nlicence: CC0-1.0\nsource: tests\n---\n{}\n"
    corpus = folder / "corpus"
    (corpus / "copy.md").write_text(
        head.format("copy", "Copy", "dunes move, with the WIND: marram grass holds them in place for 20 years")
    )
    (corpus / "empty.md").write_text(head.format("empty", '" "', ""))
    (corpus / "named.md").write_text(head.format("other", "t", "Text.\n\nCall +44 20 7946 0958."))
    assert said(folder) == [
        "corpus/dunes.md:8: the same text as copy.md:7",
        "corpus/empty.md:7: no text after the front matter",
        "corpus/empty.md:7: title is blank",
        "corpus/named.md:7: id 'other' does not equal the file name",
        "corpus/named.md:9: personal data: telephone number +4… (16 characters)",
    ]


def test_an_unreadable_document_does_not_blame_the_rows_that_use_it(folder: Path) -> None:
    (folder / "corpus" / "dunes.md").write_bytes(b"---\n\xff")
    assert said(folder) == [
        "corpus/dunes.md:2: not UTF-8 text (invalid start byte, byte 4 of the file): save it as UTF-8"
    ]


def test_all_faults_come_at_once_and_a_long_list_is_cut(folder: Path) -> None:
    (folder / "eval.jsonl").unlink()
    with (folder / "train.jsonl").open("a") as stream:
        stream.write("{broken\n" * 60)
    with pytest.raises(ValidationErrors, match=r"61 faults[^~]*train\.jsonl:4: not valid JSON") as caught:
        check_or_raise(folder)
    assert str(caught.value.message).endswith("... and 11 more")
    assert len(caught.value.faults) == 61
    assert "eval.jsonl:1: cannot be read" in str(caught.value)
    assert str(caught.value).count(".jsonl:") == 50


def test_a_missing_folder_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"dvc pull data\.dvc"):
        check(tmp_path / "data")


def test_another_kind_of_file_is_told(folder: Path) -> None:
    (folder / "corpus" / "Makefile").touch()
    (found,) = said(folder)
    assert found.startswith(
        "corpus/Makefile:1: a nameless kind of file is no document (.md): bring it in with `sluice data import`"
    )


def test_the_size_of_a_document_is_that_of_the_policy(folder: Path) -> None:
    path = folder / "corpus" / "tides.md"
    path.write_text(path.read_text() + " and so on" * 150)
    assert check_files(folder / "corpus", DocumentPolicy(max_kib=2)) == []
    small = DataPolicy(documents=DocumentPolicy(max_kib=1))
    assert said(folder, small) == ["corpus/tides.md:1: 2 KiB, a document has at most 1: split it"]


@pytest.mark.parametrize(("lost", "code"), [("\ufffd", "FFFD"), ("\x1b", "001B")])
def test_lost_characters_are_told_with_line_and_column(folder: Path, lost: str, code: str) -> None:
    path = folder / "corpus" / "tides.md"
    path.write_text(path.read_text() + f"\nThe caf{lost} is open.\n")
    assert said(folder) == [f"corpus/tides.md:10: bad encoding: U+{code} at column 8"]


SOURCE = {"file": "q.csv", "sha256": "a" * 64, "rows": 3, "licence": "CC0-1.0", "source": "tests"}


def test_a_line_without_a_licence_is_told_with_its_place(folder: Path) -> None:
    lines = [SOURCE, SOURCE | {"licence": ""}, {key: SOURCE[key] for key in SOURCE if key != "source"}]
    (folder / "sources.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{\n")
    found = said(folder)
    assert [fault.partition(": ")[0] for fault in found] == [f"sources.jsonl:{number}" for number in (2, 3, 4)]
    assert "licence: String should have at least 1 character" in found[0]
    assert "key 'source' is missing" in found[1]
