"""From passages to proposals: what survives, what is told apart, what a failing model leaves, what is repeated."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence

import pytest

from sluice.core.errors import SluiceError
from sluice.data.data_policy import PrivacyPolicy
from sluice.data.rows import Document, Row
from sluice.extras.synthetic.generate_rows import GenerationResult, GenerationSettings, generate
from sluice.extras.synthetic.source_passages import SourcePassage
from sluice.extras.synthetic.teacher_models import TeacherReply
from sluice.llm.provider_failures import FailureKind, ProviderError

OAK = "Piles of oak last 50 years in salt water, and 80 years in sweet water."
ELM = "Piles of elm are driven by a steam hammer of the Harbour Office."
PROMPT = "d" * 64


def passage(name: str, text: str) -> SourcePassage:
    return SourcePassage(Document(id=name, title=name, licence="CC0-1.0", source="tests", text=text), text)


PASSAGES = [passage("oak", OAK), passage("elm", ELM)]
SALT = ("How long does oak last at sea?", "50 years")
SWEET = ("How long does oak last in a river?", "80 years")
HAMMER = ("What drives elm into the ground?", "steam hammer")


class Scripted:
    """`writes`: what is written about a document; `answers`: what is answered to a question, else the right answer."""

    def __init__(
        self,
        writes: Mapping[str, Sequence[tuple[str, str]] | str | Exception],
        answers: Mapping[str, str | Exception] | None = None,
        concurrency: int = 1,
    ) -> None:
        self.writes, self.answers, self.concurrency = writes, answers or {}, concurrency
        self.asked: list[str] = []

    async def write(self, passage: SourcePassage, count: int) -> TeacherReply:
        self.asked.append(f"{count} of {passage.document.id}")
        await asyncio.sleep(0.02 if passage is PASSAGES[0] else 0)  # the first one is the slowest
        written = self.writes[passage.document.id]
        if isinstance(written, Exception):
            raise written
        if not isinstance(written, str):
            written = "\n".join(json.dumps({"question": q, "answer": a}) for q, a in written)
        return TeacherReply(written, "stub/teacher")

    async def answer(self, passage: SourcePassage, question: str) -> TeacherReply:
        self.asked.append(question)
        right = {q: a for pairs in self.writes.values() if isinstance(pairs, list) for q, a in pairs}
        said = self.answers.get(question, right.get(question, ""))
        if isinstance(said, Exception):
            raise said
        assert passage.text
        return TeacherReply(said, "stub/checker")


def made(models: Scripted, known: Sequence[Row] = (), **settings: int | float) -> GenerationResult:
    return generate(PASSAGES, known, models, PROMPT, GenerationSettings(**settings), PrivacyPolicy())  # type: ignore[arg-type]


def test_a_row_says_what_it_was_made_from() -> None:
    found = made(Scripted({"oak": [("How long does oak last at sea?", "50 YEARS.")], "elm": [HAMMER]}), seed=7)
    first = found.proposals[0].row
    assert (first.answers, first.doc_ids, first.tags) == (("50 years",), ("oak",), ("generated",))
    assert first.as_dict()["provenance"] == {
        "teacher": "stub/teacher",
        "prompt": PROMPT,
        "document": hashlib.sha256(OAK.encode()).hexdigest(),
        "seed": 7,
    }
    assert [one.row.question for one in found.proposals] == [SALT[0], HAMMER[0]]
    assert (found.passages, found.left_out) == (2, {})


def test_an_answer_that_is_not_found_again_is_left_out() -> None:
    models = Scripted(
        {"oak": [SALT, SWEET], "elm": [HAMMER]}, {SALT[0]: "80 years", HAMMER[0]: "a big steam hammer of some sort"}
    )
    found = made(models)
    assert [one.row.question for one in found.proposals] == [SWEET[0]]
    assert found.left_out == {"its answer was not found again": 2}
    more = made(models, agreement=0.5)
    assert [(one.row.question, one.agreement) for one in more.proposals][-1] == (HAMMER[0], 0.5)


def test_what_the_data_has_and_what_was_written_before_is_not_asked_again() -> None:
    known = [Row(id="t", question="What drives elm into the ground, then?", answers=("a ram",), doc_ids=("elm",))]
    again = ("How long does oak last at sea, then?", "50 years")
    models = Scripted({"oak": [SALT, again], "elm": [HAMMER]})
    found = made(models, known)
    assert [one.row.question for one in found.proposals] == [SALT[0]]
    assert found.left_out == {"nearly a question of the data": 1, "nearly a question that was written before": 1}
    assert models.asked == ["3 of oak", SALT[0], "3 of elm"], "nobody is asked to answer what is left out"


def test_it_ends_when_there_are_enough_and_says_what_was_too_many() -> None:
    models = Scripted({"oak": [SALT, SWEET], "elm": [HAMMER]})
    found = made(models, rows=1, each=2)
    assert [one.row.question for one in found.proposals] == [SALT[0]]
    assert (found.passages, found.left_out) == (1, {"more than were wanted": 1})
    assert "2 of elm" not in models.asked


def test_how_quick_a_model_is_does_not_decide_the_order() -> None:
    writes = {"oak": [SALT, SWEET], "elm": [HAMMER]}
    assert made(Scripted(writes, concurrency=2)) == made(Scripted(writes))


def test_after_its_time_it_ends_with_what_there_is() -> None:
    clock = iter([0.0, 1.0, 61.0])
    models = Scripted({"oak": [SALT], "elm": [HAMMER]})
    found = generate(
        PASSAGES, (), models, PROMPT, GenerationSettings(minutes=1), PrivacyPolicy(), clock=lambda: next(clock)
    )
    assert [one.row.question for one in found.proposals] == [SALT[0]]
    assert found.left_out == {"passages that were not reached in time": 1}


def test_what_is_refused_of_one_passage_costs_only_that_one() -> None:
    refused = ProviderError(FailureKind.REFUSED, "stub: HTTP 400")
    empty = ProviderError(FailureKind.GARBAGE, "stub: an empty response")
    found = made(
        Scripted(
            {"oak": refused, "elm": [HAMMER, ("Who owns the steam hammer?", "the Harbour Office")]}, {HAMMER[0]: empty}
        )
    )
    assert [one.row.answers for one in found.proposals] == [("the Harbour Office",)]
    assert found.left_out == {"the teacher gave no reply": 1, "the model that checks gave no reply": 1}


def test_a_provider_that_is_down_ends_the_run() -> None:
    down = ProviderError(FailureKind.UNREACHABLE, "stub: connection refused")
    with pytest.raises(SluiceError, match="could not be asked: stub: connection refused") as caught:
        made(Scripted({"oak": [SALT], "elm": down}))
    assert "nothing was written" in str(caught.value.remedy)
    with pytest.raises(SluiceError, match="connection refused"):
        made(Scripted({"oak": [SALT], "elm": [HAMMER]}, {SALT[0]: down}))


def test_nothing_that_survives_is_an_error_with_every_reason() -> None:
    models = Scripted({"oak": "I would rather not.", "elm": [("What drives elm into the ground?", "a ram")]})
    with pytest.raises(SluiceError, match="nothing survived of what was written about 2 passages") as caught:
        made(models)
    assert "1 × not in the form that was asked for" in str(caught.value)
    assert "1 × the answer is no span of its passage" in str(caught.value)
    assert "--seed" in str(caught.value.remedy)
