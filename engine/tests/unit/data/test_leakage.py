"""Repeats and leakage, rule by rule; test_contract.py has them together."""

from __future__ import annotations

from pathlib import Path

from sluice.data.leakage import check_documents, check_duplicate_ids, check_questions
from sluice.data.rows import Row
from sluice.data.scanning import LocatedRecord

TRAIN, EVAL = Path("train.jsonl"), Path("eval.jsonl")


def placed(path: Path, *rows: tuple[str, str, str]) -> list[LocatedRecord[Row]]:
    return [
        LocatedRecord(Row(id=id_, question=question, answers=("x",), doc_ids=(doc,)), path, line)
        for line, (id_, question, doc) in enumerate(rows, 1)
    ]


def test_an_id_is_used_once_in_both_files() -> None:
    rows = [*placed(TRAIN, ("a", "Q one?", "d")), *placed(EVAL, ("a", "Q two?", "e"))]
    assert [str(f) for f in check_duplicate_ids(rows)] == ["eval.jsonl:1: id 'a' is already used at train.jsonl:1"]


def test_a_repeat_is_leakage_only_across_the_files() -> None:
    train = placed(
        TRAIN, ("a", "How often does the tide turn here?", "d"), ("b", "How often does the tide turn here", "d")
    )
    evaluation = placed(EVAL, ("c", "How often does the high tide turn here?", "e"))
    assert sorted(str(f) for f in check_questions(train, evaluation)) == [
        "eval.jsonl:1: leakage: nearly the same question as train.jsonl:1",
        "train.jsonl:2: the same question as train.jsonl:1",
    ]


def test_a_shared_document_is_told_once() -> None:
    train = placed(TRAIN, ("a", "One?", "d"), ("b", "Two?", "d"))
    evaluation = placed(EVAL, ("c", "Three?", "e"), ("d", "Four?", "d"), ("e", "Five?", "d"))
    assert [str(f) for f in check_documents(train, evaluation)] == [
        "eval.jsonl:2: leakage: document 'd' also serves the training row at train.jsonl:1"
    ]
