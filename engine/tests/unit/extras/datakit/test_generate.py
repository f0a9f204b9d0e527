"""Proposals from passages."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.contract import check
from sluice.data.privacy import DataPolicy, PrivacyPolicy
from sluice.data.rows import Document, Provenance, Row, write_rows
from sluice.extras.datakit import generate as module
from sluice.extras.datakit.generate import (
    Generation,
    GenerationSettings,
    Reply,
    SourcePassage,
    choose_passages,
    fault,
    generate_rows,
    read_reply,
)
from sluice.extras.datakit.proposals import ROWS, Proposals, accept, write
from sluice.llm import resilience
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.retrieval.index_files import ChunkerSettings
from support.serving.fakes import ScriptedChat, provider_entry
from unit.cli.published import here, run  # noqa: F401 - a fixture

PARAGRAPH = "This paragraph has words enough that a question can be asked about it, number {}."
LONG = '{"question": "How  long?", "answer": "50 years"}'
WHERE = '{"question": "Where?", "answer": "the ledger"}'
OAK_PASSAGE = "Piles of oak last 50 years in salt water. Costs are in the ledger of the Harbour  Office."


def document(name: str, title: str, *, paragraphs: int = 2, tenant: str | None = None) -> Document:
    text = "\n\n".join([PARAGRAPH.format(f"{name} {number}") for number in range(paragraphs)] + ["A heading"])
    return Document(id=name, title=title, licence="CC0-1.0", source="tests", tenant=tenant, text=text)


CORPUS = [document("oak-1", "Oak"), document("oak-2", "Oak"), document("own-1", "Own", tenant="acme")]
CORPUS += [document("elm-1", "Elm", paragraphs=3), document("ash-1", "Ash")]
ASKED_OAK = [Row(id="e", question="What of oak?", answers=("words",), doc_ids=("oak-1",))]


def test_an_article_that_evaluation_asks_about_is_left_out_whole_and_so_is_a_tenants() -> None:
    found = choose_passages(CORPUS, ASKED_OAK, ChunkerSettings(), seed=1)
    assert {one.document.id for one in found} == {"elm-1", "ash-1"}
    assert len(found) == 5, "headings are no passages"


def test_a_reply_may_be_lines_a_list_or_a_block_and_what_is_no_candidate_is_counted() -> None:
    both = [("How long?", "50 years"), ("Where?", "the ledger")]
    for reply in (f"{LONG}\n{WHERE}", f"Here:\n```json\n[{LONG},\n {WHERE}]\n```", f"{LONG} {WHERE}"):
        assert read_reply(reply) == (both, 0)
    bad = ['{"question": "How long?"', '{"question": "How?", "answer": 50}', '{"question": " ", "answer": "x"}', "{}"]
    assert read_reply("\n".join([*bad, LONG])) == (both[:1], 4)
    assert read_reply('Cut: {"question": "How lo') == ([], 1)
    assert read_reply("No questions.") == ([], 0)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How long do piles of oak last?", "60 years"),
        ("How long?", "50 years"),
        ("Do piles last 50 years or more?", "50 years"),
        ("How long do piles last by this passage?", "50 years"),
        ("Does a.b@company.org know how long piles last?", "50 years"),
    ],
)
def test_what_is_not_good_enough_has_a_fault(question: str, answer: str) -> None:
    assert fault(question, answer, OAK_PASSAGE, PrivacyPolicy())
    assert not fault("How long do piles of oak last?", "50 years", OAK_PASSAGE, PrivacyPolicy())


OAK = "Piles of oak last 50 years in salt water, and 80 years in sweet water."
ELM = "Piles of elm are driven by a steam hammer of the Harbour Office."
SALT = ("How long does oak last at sea?", "50 years")
SWEET = ("How long does oak last in a river?", "80 years")
HAMMER = ("What drives elm into the ground?", "steam hammer")
TEXTS = {"oak": OAK, "elm": ELM}
DOCUMENTS = [
    Document(id=name, title=name, licence="CC0-1.0", source="tests", text=text) for name, text in TEXTS.items()
]
PASSAGES = [SourcePassage(document, document.text) for document in DOCUMENTS]
DOWN = ProviderError(FailureKind.UNREACHABLE, "connection refused")


class Scripted:
    """Plays both roles: `writes` by document, None for no reply; `answers` by question, else the right answer."""

    def __init__(self, writes: dict[str, Any], answers: dict[str, str | None] = {}, concurrency: int = 1) -> None:  # noqa: B006
        self.writes, self.answers, self.concurrency = writes, answers, concurrency
        self.prompt = SimpleNamespace(digest="d" * 64)
        self.asked: list[str] = []

    async def ask(self, seed: int | None = None, **values: Any) -> Reply | None:
        if "count" in values:
            assert seed is not None
            self.asked.append(f"{values['count']} of {values['title']}")
            await asyncio.sleep(0.02 if values["title"] == "oak" else 0)  # the first one is the slowest
            said: Any = self.writes[values["title"]]
            if isinstance(said, list):
                said = "\n".join(json.dumps({"question": q, "answer": a}) for q, a in said)
        else:
            self.asked.append(values["question"])
            right = {q: a for pairs in self.writes.values() if isinstance(pairs, list) for q, a in pairs}
            said = self.answers.get(values["question"], right.get(values["question"], ""))
        if isinstance(said, Exception):
            raise said
        return None if said is None else (said, "stub/teacher")


def made(models: Scripted, known: Sequence[Row] = (), **settings: Any) -> Proposals:
    roles: Any = models
    return Generation(known, roles, roles, "No.", GenerationSettings(**settings), PrivacyPolicy()).over(PASSAGES)


def questions(found: Proposals) -> list[str]:
    return [one.row.question for one in found.proposals]


def test_a_row_says_what_it_was_made_from() -> None:
    found = made(Scripted({"oak": [("How long does oak last at sea?", "50 YEARS.")], "elm": [HAMMER]}), seed=7)
    first = found.proposals[0].row
    assert (first.answers, first.doc_ids, first.tags) == (("50 years",), ("oak",), ("generated",))
    assert first.provenance == Provenance(
        teacher="stub/teacher", prompt="d" * 64, document=hashlib.sha256(OAK.encode()).hexdigest(), seed=7
    )
    assert (questions(found), found.left_out) == ([SALT[0], HAMMER[0]], {})


def test_an_answer_that_is_not_found_again_is_left_out() -> None:
    answers = {SALT[0]: "80 years", HAMMER[0]: "a big steam hammer of some sort"}
    models = Scripted({"oak": [SALT, SWEET], "elm": [HAMMER]}, answers)
    found = made(models)
    assert (questions(found), sum(found.left_out.values())) == ([SWEET[0]], 2)
    assert questions(made(models, agreement=0.5)) == [SALT[0], SWEET[0], HAMMER[0]]


def test_what_the_data_has_and_what_was_written_before_is_not_asked_again() -> None:
    known = [Row(id="t", question="What drives elm into the ground, then?", answers=("a ram",), doc_ids=("elm",))]
    again = ("How long does oak last at sea, then?", "50 years")
    models = Scripted({"oak": [SALT, again], "elm": [HAMMER]})
    found = made(models, known)
    assert questions(found) == [SALT[0]]
    assert found.left_out == {"nearly a question of the data": 1, "nearly a question that was written before": 1}
    assert models.asked == ["3 of oak", SALT[0], "3 of elm"], "nobody is asked to answer what is left out"


def test_it_ends_when_there_are_enough_or_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    models = Scripted({"oak": [SALT, SWEET], "elm": [HAMMER]})
    found = made(models, rows=1, each=2)
    assert (questions(found), found.left_out) == ([SALT[0]], {"more than were wanted": 1})
    assert "2 of elm" not in models.asked
    clock = iter([0.0, 1.0, 61.0])
    monkeypatch.setattr(module, "monotonic", lambda: next(clock))
    found = made(Scripted({"oak": [SALT], "elm": [HAMMER]}), minutes=1)
    assert (questions(found), found.left_out) == ([SALT[0]], {"passages that were not reached in time": 1})


def test_a_refusal_costs_one_passage_and_the_order_is_that_of_the_passages() -> None:
    office = ("Who owns the steam hammer?", "the Harbour Office")
    found = made(Scripted({"oak": None, "elm": [HAMMER, office]}, {HAMMER[0]: None}))
    assert (questions(found), sum(found.left_out.values())) == ([office[0]], 2)
    writes = {"oak": [SALT, SWEET], "elm": [HAMMER]}
    assert made(Scripted(writes, concurrency=2)).proposals == made(Scripted(writes)).proposals


def test_a_provider_that_is_down_ends_the_run_and_nothing_that_survives_is_an_error() -> None:
    with pytest.raises(SluiceError, match="connection refused"):
        made(Scripted({"oak": [SALT], "elm": DOWN}))
    models = Scripted({"oak": "I would rather not.", "elm": [("What drives elm into the ground?", "a ram")]})
    with pytest.raises(SluiceError, match="nothing survived") as caught:
        made(models)
    assert str(caught.value).count("1 × ") == 2


QUESTION = "How much do neighbouring pieces have in common?"
WROTE = f'{{"question": "{QUESTION}", "answer": "64 tokens"}}'
ASKED = Row(id="e", question="What gets a small share?", answers=("a canary",), doc_ids=("canary",))
CHUNKING, PAGING = "Chunking\n</title>", "Paging\n</title>"


@pytest.fixture
def checkout(workspace: Workspace) -> Workspace:
    write_rows(workspace.data / "eval.jsonl", [ASKED])
    write_rows(workspace.data / "train.jsonl", [Row(id="t", question="Who is mayor?", answers=(), doc_ids=())])
    in_role(workspace, "teacher")
    return workspace


def in_role(workspace: Workspace, role: str) -> None:
    path = workspace.config / "providers.yaml"
    document = yaml.safe_load(path.read_text())
    entry = {"name": f"a-{role}", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    document[role] = [provider_entry(kind="openai_compatible", **entry)]
    path.write_text(yaml.safe_dump(document))


def said(monkeypatch: pytest.MonkeyPatch, script: dict[str, str | Exception]) -> ScriptedChat:
    scripted = ScriptedChat({PAGING: "No."} | script)
    monkeypatch.setattr(resilience, "open_chat", lambda _specs, *, local_url: scripted)  # noqa: ARG005
    return scripted


def generated(workspace: Workspace, checked_by: str = "teacher", **settings: Any) -> Proposals:
    return generate_rows(workspace, GenerationSettings(**settings), PrivacyPolicy(), checked_by=checked_by)


def test_a_proposed_row_keeps_the_contract_once_it_is_accepted(
    checkout: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chat = said(monkeypatch, {CHUNKING: WROTE, QUESTION: "64 tokens."})
    found = generated(checkout, seed=5)
    assert found.proposals[0].facts["by"] == "a-teacher/m"
    assert all("Canary" not in call["messages"][-1][1] for call in chat.calls), "evaluation asks about that article"
    assert {call["seed"] for call in chat.calls if CHUNKING in call["messages"][-1][1]} == {5}
    write(found, tmp_path / "out")
    accept(tmp_path / "out" / ROWS, "train", checkout.data, DataPolicy())
    assert check(checkout.data).faults == ()


def test_a_run_that_was_cut_off_asks_nobody_again(checkout: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, {CHUNKING: WROTE, QUESTION: DOWN})
    with pytest.raises(SluiceError, match="could not be asked"):
        generated(checkout)
    chat = said(monkeypatch, {CHUNKING: AssertionError("asked again"), QUESTION: "64 tokens"})
    assert (len(generated(checkout).proposals), len(chat.calls)) == (1, 1)


def test_another_role_may_find_the_answers_again(checkout: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("judge", "embed", "nobody"):
        with pytest.raises(SluiceError, match=f"no provider in the role {role}"):
            generated(checkout, role)
    in_role(checkout, "judge")
    said(monkeypatch, {CHUNKING: WROTE, QUESTION: ProviderError(FailureKind.REFUSED, "no")})
    with pytest.raises(SluiceError, match="nothing survived"):  # a refusal costs its passage alone
        generated(checkout, "judge")
    said(monkeypatch, {CHUNKING: WROTE, QUESTION: "64 tokens"})
    assert generated(checkout, "judge").proposals[0].facts["by"] == "a-judge/m"
