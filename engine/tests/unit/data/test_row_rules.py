from pathlib import Path
from typing import Any

import pytest

from sluice.data.row_rules import check_documents, check_rows, faults_of, occurs
from sluice.data.rows import Document, EarlierMessage, ExpectedBehaviour, Row, load_rows, write_rows
from sluice.data.scanning import LocatedRecord


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        ("twice a day", "It turns\ntwice  a day.", True),
        ("5", "About 15 percent, or 50.", False),
        ("chunk", "Chunks overlap.", False),
        ("$5", "It costs US$5 today.", True),
        ("起", "何が起きる", True),
    ],
)
def test_occurs(answer: str, text: str, found: bool) -> None:
    assert occurs(answer, text) is found


def document(name: str, tenant: str | None) -> Document:
    return Document(id=name, title="T", licence="CC0-1.0", source="tests", text="64 tokens", tenant=tenant)


@pytest.mark.parametrize(
    ("tenant", "right"), [(None, True), ("acme-eu.2", True), ("", False), ("Acme", False), ("-a", False)]
)
def test_a_tenant_has_a_plain_name(tenant: str | None, right: bool) -> None:
    placed = LocatedRecord(document("d", tenant), Path("d.md"), 7)
    faults = [str(fault) for fault in check_documents([placed])]
    assert (faults == []) is right
    assert right or faults[0].startswith(f"d.md:7: tenant {tenant!r}: use 1 to 64 of a-z")


SAID = (EarlierMessage(role="user", content="How many?"), EarlierMessage(role="assistant", content="64."))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"answers": ["They are 64."]}, None),  # in other words than those of the document
        ({"answers": ["They are 65."]}, "expect.answer_key: the answer does not state it: 'They are 65.'"),
        ({"answers": ["Hello, 64."], "doc_ids": []}, None),  # a greeting is about no document
        ({"expect": None}, "answer is not in its documents: 'They are 64.'"),
        ({"expect": None, "answers": ["64"], "doc_ids": []}, "a row with answers needs the doc_ids they come from"),
        ({"doc_ids": ["closed"]}, "doc_ids: one tenant's document, the model is for all: 'closed'"),
        ({"history": SAID}, None),
        ({"history": SAID[::-1]}, "history: is not user, assistant, … in turn"),
    ],
)
def test_answers_documents_and_what_was_said_before(changes: dict[str, object], says: str | None) -> None:
    asked = {"id": "q", "question": "How many?", "answers": ["They are 64."], "doc_ids": ["open"]}
    row = Row.model_validate({**asked, "expect": {"answer_key": [["64"]]}, **changes})
    documents = {name: document(name, tenant) for name, tenant in (("open", None), ("closed", "acme"))}
    faults = check_rows([LocatedRecord(row, Path("t.jsonl"), 1)], documents)
    assert [str(fault) for fault in faults] == ([f"t.jsonl:1: {says}"] if says else [])


@pytest.mark.parametrize(
    ("expect", "faults"),
    [
        ({}, ["expect: holds no check; leave it out"]),
        ({"contains": ["64", " "]}, ["expect.contains: a text is blank"]),
        ({"regex": ""}, ["expect.regex: is empty and would match every answer"]),
        ({"regex": "(64"}, ["expect.regex: '(64' is no regular expression: missing ) at position 3"]),
        ({"json_schema": {}}, ["expect.json_schema: is empty and would accept every JSON"]),
        (
            {"json_schema": {"type": "objekt"}},
            ["expect.json_schema: is no JSON Schema: $.type: 'objekt' is not valid under any of the given schemas"],
        ),
        ({"answer_key": [["5 %"], []]}, ["expect.answer_key: a fact has no text, or a blank one"]),
        (
            {"contains": ["Six Tokens"], "not_contains": ["tokens"], "regex": "["},
            [
                "expect: 'Six Tokens' is both wanted (contains) and not wanted (not_contains)",
                "expect.regex: '[' is no regular expression: unterminated character set at position 1",
            ],
        ),
    ],
)
def test_what_no_answer_could_be_checked_by_is_a_fault(expect: dict[str, Any], faults: list[str]) -> None:
    assert faults_of(ExpectedBehaviour.model_validate(expect)) == faults


def test_expect_survives_the_file_and_rows_without_it_stay_as_they_were(tmp_path: Path) -> None:
    plain = Row(id="a", question="A?", answers=("x",), doc_ids=("d",))
    asking = plain.model_copy(
        update={"id": "b", "expect": ExpectedBehaviour(json_schema={"const": None}, contains=("x",))}
    )
    write_rows(tmp_path / "rows.jsonl", [plain, asking])
    first, second = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert first == '{"id": "a", "question": "A?", "answers": ["x"], "doc_ids": ["d"], "tags": []}'
    assert second.endswith('"expect": {"contains": ["x"], "json_schema": {"const": null}}}')
    assert load_rows(tmp_path / "rows.jsonl") == [plain, asking]
