"""SQuAD import: what comes in, what is left out and why, and that nothing is half written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.data.contract import check
from sluice.data.data_policy import DataPolicy, PrivacyPolicy
from sluice.data.rows import load_corpus, load_rows
from sluice.extras.datakit.dataset import import_squad


def ask(id_: str, question: str, *answers: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "question": question, "answers": [{"text": a, "answer_start": 0} for a in answers], **more}


def article(*paragraphs: tuple[str, list[dict[str, Any]]], **more: Any) -> dict[str, Any]:
    return {"paragraphs": [{"context": text, "qas": questions} for text, questions in paragraphs], **more}


def squad(
    tmp_path: Path, *articles: dict[str, Any], out: str = "out", train: int = 1, policy: DataPolicy = DataPolicy()
) -> dict[str, Any]:
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"version": "v2.0", "data": list(articles)}))
    return import_squad(path, tmp_path / out, train_articles=train, licence="CC0-1.0", origin="tests", policy=policy)


TIDES = article(("The tide turns twice a day.", [ask("1", "How often does the tide turn?", "twice a day", "day")]))
DUNES = article(("Dunes move with the wind.", [ask("2", "What moves a dune?", "wind")]), title="Sand_dunes: a guide")


def test_it_writes_a_set_that_keeps_the_contract(tmp_path: Path) -> None:
    impossible = ask("3", "Who owns the dunes?", is_impossible=True, plausible_answers=[{"text": "wind"}])
    dunes = article(("Dunes move with the wind.", [*DUNES["paragraphs"][0]["qas"], impossible]), title=DUNES["title"])
    report = squad(tmp_path, TIDES, dunes)
    assert check(tmp_path / "out").faults == ()
    assert report["dropped"] == {}
    assert [report["counts"][key] for key in ("train", "evaluation", "unanswerable")] == [1, 2, 1]
    first, second = load_corpus(tmp_path / "out" / "corpus")
    assert (first.id, first.title, first.licence, first.source) == ("a001-p01", "Article 1", "CC0-1.0", "tests")
    assert second.title == "Sand dunes: a guide"
    assert load_rows(tmp_path / "out" / "train.jsonl")[0].answers == ("twice a day", "day")
    decline = load_rows(tmp_path / "out" / "eval.jsonl")[1]
    assert (decline.answers, decline.doc_ids, decline.tags) == ((), (), ("a002", "unanswerable"))


def test_what_the_contract_would_refuse_is_left_out_and_counted(tmp_path: Path) -> None:
    piers = [
        ask("4", "How many piles does a pier have?", "5"),
        ask("5", " ", "piles"),
        ask("1", "What do piers stand on?", "piles"),
        ask("6", "Which mail is first.last@" + "company.org using?", "piles"),
        ask("7", "How often does the tide turn?", "piles"),
        ask("8", "How many piles are there?", "15"),
    ]
    tides = [ask("9", "What turns?", "tide"), ask("10", "When?", "twice a day")]
    again = ("the tide turns, twice a day", tides)
    bad = [(" ", [ask("11", "What is empty?", "")]), ("Call +44 20 7946 0958.", [])]
    messy = article(("Piers stand on 15 piles.", piers), again, *bad)
    redacted = squad(tmp_path, messy, DUNES, TIDES, out="redacted")
    assert not [reason for reason in redacted["dropped"] if "personal data" in reason]
    assert check(tmp_path / "redacted").faults == ()
    strict = DataPolicy(privacy=PrivacyPolicy(email="refuse", phone="refuse"))
    dropped = squad(tmp_path, messy, DUNES, TIDES, policy=strict)["dropped"]
    assert sum(number for reason, number in dropped.items() if reason.startswith("paragraph: ")) == 3
    assert sum(number for reason, number in dropped.items() if reason.startswith("question: ")) == 8
    assert check(tmp_path / "out").faults == ()
    assert [row.id for row in load_rows(tmp_path / "out" / "train.jsonl")] == ["8"]
    assert [row.id for row in load_rows(tmp_path / "out" / "eval.jsonl")] == ["2", "1"]


@pytest.mark.parametrize("text", ['{"data": {}}', '{"data": [{"paragraphs": 3}, {}]}', '{"a": ' * 100_000, "9" * 5000])
def test_weakness_8_another_format_is_refused_and_its_depth_is_bounded(tmp_path: Path, text: str) -> None:
    path = tmp_path / "squad.json"
    path.write_text(text)
    with pytest.raises(SluiceError, match=str(path)):
        import_squad(path, tmp_path / "out", train_articles=1, licence="x", origin="y", policy=DataPolicy())
    assert not (tmp_path / "out").exists()


def test_a_failed_import_changes_nothing(tmp_path: Path) -> None:
    for number in (0, 2):
        with pytest.raises(SluiceError, match="leave at least one article"):
            squad(tmp_path, TIDES, DUNES, train=number)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "keep.txt").write_text("mine")
    with pytest.raises(SluiceError, match="already exists"):
        squad(tmp_path, TIDES, DUNES, out="full")
    with pytest.raises(SluiceError, match="no rows"):
        squad(tmp_path, TIDES, article(("Text.", [])))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "squad.json"]
