"""Whether an answer occurs in a text, and what is said about tenants."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.data.row_rules import check_documents, check_rows, occurs
from sluice.data.rows import Document, EarlierMessage, Row
from sluice.data.scanning import LocatedRecord


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        ("twice a day", "It turns\ntwice  a day.", True),
        ("constrained decoding", "Constrained decoding enforces it.", True),
        ("5", "About 15 percent, then 5 more.", True),
        ("5", "About 15 percent, or 50.", False),
        ("chunk", "Chunks overlap.", False),
        ("$5", "It costs US$5 today.", True),
        ("起", "何が起きる", True),
        ("", "anything", False),
    ],
)
def test_occurs(answer: str, text: str, found: bool) -> None:
    assert occurs(answer, text) is found


def document(name: str, tenant: str | None) -> Document:
    return Document(id=name, title="T", licence="CC0-1.0", source="tests", text="64 tokens", tenant=tenant)


@pytest.mark.parametrize(
    ("tenant", "right"),
    [(None, True), ("acme", True), ("acme-eu.2", True), ("", False), ("Acme", False), ("a b", False), ("-a", False)],
)
def test_a_tenant_has_a_plain_name(tenant: str | None, right: bool) -> None:
    placed = LocatedRecord(document("d", tenant), Path("d.md"), 7)
    faults = [str(fault) for fault in check_documents([placed])]
    assert (faults == []) is right
    assert right or faults[0].startswith(f"d.md:7: tenant {tenant!r}: use 1 to 64 of a-z")


def test_rows_are_about_shared_documents() -> None:
    """The one model is trained on them: a tenant's document would be told to everybody."""
    documents = {name: document(name, tenant) for name, tenant in (("open", None), ("closed", "acme"))}
    rows = [
        LocatedRecord(
            Row(id=name, question="How many?", answers=("64 tokens",), doc_ids=(name,)), Path("t.jsonl"), number
        )
        for number, name in enumerate(documents, 1)
    ]
    (fault,) = check_rows(rows, documents)
    assert str(fault) == "t.jsonl:2: doc_ids: one tenant's document, the model is for all: 'closed'"


SAID = (EarlierMessage(role="user", content="How many?"), EarlierMessage(role="assistant", content="64."))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"answers": ["They are 64."]}, None),  # in other words than those of the document
        ({"answers": ["They are 65."]}, "expect.answer_key: the answer does not state it: 'They are 65.'"),
        ({"answers": ["Hello, 64."], "doc_ids": []}, None),  # a greeting is about no document
        ({"expect": None}, "answer is not in its documents: 'They are 64.'"),
        ({"expect": None, "answers": ["64"], "doc_ids": []}, "a row with answers needs the doc_ids they come from"),
        ({"history": SAID}, None),
        ({"history": SAID[:1]}, "history: is not user, assistant, … in turn"),
        ({"history": SAID[::-1]}, "history: is not user, assistant, … in turn"),
    ],
)
def test_a_key_and_what_was_said_before(changes: dict[str, object], says: str | None) -> None:
    asked = {"id": "q", "question": "How many?", "answers": ["They are 64."], "doc_ids": ["open"]}
    row = Row.model_validate({**asked, "expect": {"answer_key": [["64"]]}, **changes})
    faults = check_rows([LocatedRecord(row, Path("t.jsonl"), 1)], {"open": document("open", None)})
    assert [str(fault) for fault in faults] == ([f"t.jsonl:1: {says}"] if says else [])
