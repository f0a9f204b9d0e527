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
from sluice.extras.importing.import_squad import squad


def ask(id_: str, question: str, *answers: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "question": question, "answers": [{"text": a, "answer_start": 0} for a in answers], **more}


def article(*paragraphs: tuple[str, list[dict[str, Any]]], **more: Any) -> dict[str, Any]:
    return {"paragraphs": [{"context": text, "qas": questions} for text, questions in paragraphs], **more}


def squad_file(tmp_path: Path, *articles: dict[str, Any], **more: Any) -> Path:
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"version": "v2.0", "license": "CC0-1.0", **more, "data": list(articles)}))
    return path


TIDES = article(
    ("The tide turns twice a day.", [ask("1", "How often does the tide turn?", "twice a day", "twice a day")])
)
DUNES = article(("Dunes move with the wind.", [ask("2", "What moves a dune?", "wind")]), title="Sand_dunes: a guide")


def test_it_writes_a_set_that_keeps_the_contract(tmp_path: Path) -> None:
    impossible = ask("3", "Who owns the dunes?", is_impossible=True, plausible_answers=[{"text": "wind"}])
    dunes = article(("Dunes move with the wind.", [*DUNES["paragraphs"][0]["qas"], impossible]), title=DUNES["title"])
    imported = squad(squad_file(tmp_path, TIDES, dunes), tmp_path / "out", train_articles=1)
    assert check(tmp_path / "out").faults == ()
    assert imported.dropped == {}
    assert (imported.counts.train, imported.counts.evaluation, imported.counts.unanswerable) == (1, 2, 1)
    first, second = load_corpus(tmp_path / "out" / "corpus")
    assert (first.id, first.title, first.licence, first.source) == ("a001-p01", "Article 1", "CC0-1.0", "v2.0")
    assert second.title == "Sand dunes: a guide"
    assert load_rows(tmp_path / "out" / "train.jsonl")[0].answers == ("twice a day",)
    decline = load_rows(tmp_path / "out" / "eval.jsonl")[1]
    assert (decline.answers, decline.doc_ids, decline.tags) == ((), (), ("a002", "unanswerable"))


def test_what_the_contract_would_refuse_is_left_out_and_counted(tmp_path: Path) -> None:
    messy = article(
        (
            "Piers stand on 15 piles.",
            [
                ask("4", "How many piles does a pier have?", "5"),
                ask("5", " ", "piles"),
                ask("1", "What do piers stand on?", "piles"),
                ask("6", "Which mail is first.last@" + "company.org using?", "piles"),
                ask("7", "How often does the tide turn?", "piles"),
                ask("8", "How many piles are there?", "15"),
            ],
        ),
        ("the tide turns, twice a day", [ask("9", "What turns?", "tide"), ask("10", "When?", "twice a day")]),
        (" ", [ask("11", "What is empty?", "")]),
        ("Call +44 20 7946 0958.", []),
    )
    strict = DataPolicy(privacy=PrivacyPolicy(email="refuse", phone="refuse"))
    source = squad_file(tmp_path, messy, DUNES, TIDES)
    redacted = squad(source, tmp_path / "redacted", train_articles=1)
    assert sum("personal data" in reason for reason in redacted.dropped) == 0
    assert check(tmp_path / "redacted").faults == ()
    imported = squad(source, tmp_path / "out", train_articles=1, policy=strict)
    assert imported.dropped == {
        "paragraph: empty": 1,
        "paragraph: personal data or secret": 1,
        "paragraph: repeats another": 1,
        "question: blank": 1,
        "question: id already used": 1,
        "question: its paragraph: empty": 1,
        "question: its paragraph: repeats another": 2,
        "question: nearly the same as another": 1,
        "question: no answer in its paragraph as whole words": 1,
        "question: personal data or secret": 1,
    }
    assert check(tmp_path / "out").faults == ()


def test_a_repeat_across_the_split_costs_the_training_row(tmp_path: Path) -> None:
    again = article(
        (
            "Here the tide turns hourly.",
            [ask("7", "How often does the tide turn?", "hourly"), ask("8", "What turns?", "tide")],
        )
    )
    squad(squad_file(tmp_path, again, TIDES), tmp_path / "out", train_articles=1)
    assert [row.id for row in load_rows(tmp_path / "out" / "train.jsonl")] == ["8"]
    assert [row.id for row in load_rows(tmp_path / "out" / "eval.jsonl")] == ["1"]


def test_licence_and_source_are_demanded_when_the_file_has_none(tmp_path: Path) -> None:
    path = squad_file(tmp_path, TIDES, DUNES, license="", version=None)
    with pytest.raises(SluiceError, match="argument 'licence'"):
        squad(path, tmp_path / "out", train_articles=1)
    with pytest.raises(SluiceError, match="argument 'source'"):
        squad(path, tmp_path / "out", train_articles=1, licence="CC0-1.0")
    squad(path, tmp_path / "out", train_articles=1, licence="CC0-1.0", source="tests")
    assert {d.source for d in load_corpus(tmp_path / "out" / "corpus")} == {"tests"}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"data": {}}', "no list of objects 'data'"),
        (
            '{"license": "l", "version": "v", "data": [{"paragraphs": 3}, {"paragraphs": []}]}',
            "article 1 has no list of objects 'paragraphs'",
        ),
        ("{", "not valid JSON"),
    ],
)
def test_another_format_is_refused(tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "squad.json").write_text(content)
    with pytest.raises(SluiceError, match=what):
        squad(tmp_path / "squad.json", tmp_path / "out", train_articles=1)
    assert not (tmp_path / "out").exists()


def test_a_failed_import_changes_nothing(tmp_path: Path) -> None:
    path = squad_file(tmp_path, TIDES, DUNES)
    for number in (0, 2):
        with pytest.raises(SluiceError, match="leave at least one article"):
            squad(path, tmp_path / "out", train_articles=number)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "keep.txt").write_text("mine")
    with pytest.raises(SluiceError, match="already exists"):
        squad(path, tmp_path / "full", train_articles=1)
    no_rows = squad_file(tmp_path, TIDES, article(("Text.", [])))
    with pytest.raises(SluiceError, match=r"eval\.jsonl:1: no rows"):
        squad(no_rows, tmp_path / "out", train_articles=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "squad.json"]
