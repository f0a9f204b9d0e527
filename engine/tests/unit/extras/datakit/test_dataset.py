# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""The data set as a whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.contract import check, data_digest
from sluice.data.privacy import DataPolicy, PrivacyPolicy
from sluice.data.publish import push
from sluice.data.rows import load_corpus, load_rows
from sluice.extras.datakit.dataset import card, checked_out, diff, import_squad, redact_folder
from support.git import commit_all
from unit.cli.published import here, run  # noqa: F401 - a fixture

MAIL = "first.last@" + "company.org"


def test_the_datasheet_counts_what_is_there(folder: Path, add_row: Callable[..., None]) -> None:
    source = {"file": "q.csv", "sha256": "a" * 64, "rows": 2, "licence": "MIT", "source": "a | b"}
    (folder / "sources.jsonl").write_text(json.dumps(source))
    page = card(folder, DataPolicy())
    for cells in (
        ("documents", "3", "", "13, 14, 14"),
        ("train questions", "3", "1", "5, 5, 6"),
        ("sea", "0", "1"),
        ("MIT", "a ¦ b", "2 rows of q.csv"),
        ("email", "refused here, replaced by importers"),
    ):
        assert f"| {' | '.join(f'`{cell}`' if cell else '' for cell in cells)} |" in page, cells
    assert data_digest(folder) in page
    assert "finds: 0." in page
    add_row("train.jsonl", question=" ")
    page = card(folder, DataPolicy(privacy=PrivacyPolicy(phone="allow")))
    assert "finds: 1." in page
    assert "| `phone` | `not looked for` |" in page


def test_every_change_is_told_by_id(folder: Path, tmp_path: Path, add_row: Callable[..., None]) -> None:
    base = Path(shutil.copytree(folder, tmp_path / "base"))
    nothing = {"added": [], "removed": [], "changed": {}}
    assert diff(base, folder) == {"documents": nothing, "train.jsonl": nothing, "eval.jsonl": nothing, "moved": {}}
    lines = (folder / "train.jsonl").read_text().splitlines()
    first, moved = json.loads(lines[0]), lines[2]
    first |= {"question": "How often a day does it turn?", "tags": ["sea"]}
    (folder / "train.jsonl").write_text(f"{json.dumps(first)}\n")
    with (folder / "eval.jsonl").open("a") as stream:
        stream.write(f"{moved}\n")
    add_row("eval.jsonl", id="e9")
    (folder / "corpus" / "dunes.md").unlink()
    path = folder / "corpus" / "piers.md"
    path.write_text(path.read_text().replace("oak", "steel"))
    assert diff(base, folder) == {
        "documents": {"added": [], "removed": ["dunes"], "changed": {"piers": ["text"]}},
        "train.jsonl": {"added": [], "removed": ["t2", "t3"], "changed": {"t1": ["question", "tags"]}},
        "eval.jsonl": {"added": ["e9", "t3"], "removed": [], "changed": {}},
        "moved": {"t3": "eval.jsonl"},
    }


def test_another_version_comes_from_the_cache_or_the_remote(checkout: Workspace) -> None:
    push(checkout, DataPolicy())
    first = commit_all(checkout.root)
    digest = data_digest(checkout.data)
    (checkout.data / "README.md").write_text("New.")
    push(checkout, DataPolicy())
    with checked_out(checkout, first) as cached:
        assert data_digest(cached) == digest
    shutil.rmtree(checkout.root / ".dvc" / "cache")  # then it comes from the remote
    with checked_out(checkout, first) as then:
        assert data_digest(then) == digest
    assert not then.exists()
    with checked_out(checkout, str(checkout.data)) as folder:
        assert folder == checkout.data


def test_documents_rows_and_answers_lose_the_same(folder: Path, add_row: Callable[..., None]) -> None:
    path = folder / "corpus" / "tides.md"
    path.write_text(path.read_text() + f"\nAsk {MAIL} about it.\n")
    add_row("train.jsonl", question=f"Who but {MAIL} knows?", answers=[MAIL, f"Ask {MAIL}"], doc_ids=["tides"])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(check(folder).faults) == 2
    assert redact_folder(folder, PrivacyPolicy()) == {"documents": 1, "rows": 1}
    assert check(folder).faults == ()
    row = load_rows(folder / "train.jsonl")[-1]
    assert row.answers == ("[e-mail address]", "Ask [e-mail address]")
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"tides.md", "train.jsonl"}
    assert redact_folder(folder, PrivacyPolicy()) == {"documents": 0, "rows": 0}


def test_what_is_refused_or_cannot_be_read_stays(folder: Path) -> None:
    for path in (folder / "eval.jsonl", folder / "corpus" / "tides.md"):
        path.write_text(path.read_text() + f"Ask {MAIL}.\n")
    assert redact_folder(folder, PrivacyPolicy(email="refuse")) == {"documents": 0, "rows": 0}
    assert redact_folder(folder, PrivacyPolicy()) == {"documents": 1, "rows": 0}
    assert MAIL in (folder / "eval.jsonl").read_text()


def test_the_commands(here: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    path = here.data / "eval.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    difference = json.loads(run(capsys, "diff", "HEAD")[1])
    assert len(difference["eval.jsonl"]["removed"]) == 1
    assert "# Datasheet" in run(capsys, "card")[1]
    assert json.loads(run(capsys, "redact")[1]) == {"documents": 0, "rows": 0}


def qa(id_: str, question: str, *answers: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "question": question, "answers": [{"text": a, "answer_start": 0} for a in answers], **more}


def article(*paragraphs: tuple[str, list[dict[str, Any]]], **more: Any) -> dict[str, Any]:
    return {"paragraphs": [{"context": text, "qas": questions} for text, questions in paragraphs], **more}


def squad(
    tmp_path: Path, *articles: dict[str, Any], out: str = "out", train: int = 1, policy: DataPolicy = DataPolicy()
) -> dict[str, Any]:
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"version": "v2.0", "data": list(articles)}))
    return import_squad(path, tmp_path / out, train_articles=train, licence="CC0-1.0", origin="tests", policy=policy)


TIDES = article(("The tide turns twice a day.", [qa("1", "How often does the tide turn?", "twice a day", "day")]))
DUNES = article(("Dunes move with the wind.", [qa("2", "What moves a dune?", "wind")]), title="Sand_dunes: a guide")


def test_it_writes_a_set_that_keeps_the_contract(tmp_path: Path) -> None:
    impossible = qa("3", "Who owns the dunes?", is_impossible=True, plausible_answers=[{"text": "wind"}])
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
        qa("4", "How many piles does a pier have?", "5"),
        qa("5", " ", "piles"),
        qa("1", "What do piers stand on?", "piles"),
        qa("6", "Which mail is first.last@" + "company.org using?", "piles"),
        qa("7", "How often does the tide turn?", "piles"),
        qa("8", "How many piles are there?", "15"),
    ]
    tides = [qa("9", "What turns?", "tide"), qa("10", "When?", "twice a day")]
    again = ("the tide turns, twice a day", tides)
    bad = [(" ", [qa("11", "What is empty?", "")]), ("Call +44 20 7946 0958.", [])]
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


@pytest.mark.parametrize("text", ['{"data": [{"paragraphs": 3}, {}]}', '{"a": ' * 100_000])
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
