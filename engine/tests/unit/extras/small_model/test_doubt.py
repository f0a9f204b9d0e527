"""Passages that do not seem to answer: the application declines without its model, where the release says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from assistant.app import HELP, NEAREST
from sluice.core.errors import SluiceError
from sluice.extend import Answer, testing
from sluice.serving import passage_retriever
from sluice.serving.caller_options import CallerOptions
from unit.extras.evidence.test_evidence_reader import Encoder, hit

UNSAID = "Which rollbacks mind canaries?"  # of its rare words the passages say none
SAID = "Where do canaries start?"
HITS = {
    UNSAID: [hit("As said."), hit("So be it.", 0.49)],
    SAID: [hit("Canaries start at 5 percent."), hit("As said.", 0.3)],
}


class Search(testing.ScriptedRetriever):
    embedder = Encoder()


def ask(
    question: str,
    options: CallerOptions | None = None,
    answers: str = "any",
    said: dict[str, str] | None = None,
    **retrieval: Any,
) -> tuple[Answer, testing.ScriptedChat]:
    chat = testing.ScriptedChat(said or {"": "5 percent"})
    settings = {"k": 3, "min_similarity": 0.25, **retrieval}
    bundle = testing.scripted_bundle(retrieval=settings, answers=answers)
    runner = testing.run_application(chat, Search(HITS), bundle=bundle)
    return asyncio.run(runner.answer([{"role": "user", "content": question}], options=options)), chat


def test_what_the_passages_leave_out_is_declined_and_no_model_is_asked() -> None:
    answer, chat = ask(UNSAID, max_doubt=0.5)
    assert answer.declined
    assert chat.calls == []
    answer, chat = ask(SAID, max_doubt=0.5)
    assert (answer.text, len(chat.calls)) == ("5 percent", 1)


def test_a_decline_is_followed_by_the_sentences_that_come_nearest_where_sentences_are_shown() -> None:
    answer, chat = ask(UNSAID, max_doubt=0.5, sentences=2)
    assert answer.text == f"{testing.DECLINE}\n\n{NEAREST}\n\n1. As said.\n2. So be it."
    assert (answer.declined, chat.calls) == (True, [])
    assert [one.text for one in answer.citations] == ["As said", "So be it"]
    assert ask(UNSAID, max_doubt=0.5, sentences=2, answers="spans")[0].text == testing.DECLINE


def test_a_decline_by_the_model_is_followed_so_too() -> None:
    said = {"": f" {testing.DECLINE}"}
    answer, chat = ask(SAID, said=said, sentences=1)
    assert answer.text == f"{testing.DECLINE}\n\n{NEAREST}\n\n1. Canaries start at 5 percent."
    assert (answer.declined, len(chat.calls), len(answer.citations)) == (True, 1, 1)
    assert ask(SAID, said=said)[0].text == f"{testing.DECLINE}\n\n{HELP}"
    assert ask(SAID, said=said, sentences=1, answers="spans")[0].text == testing.DECLINE
    assert ask(SAID, said={"": f"{testing.DECLINE} It is 5."}, sentences=1)[0].text == f"{testing.DECLINE} It is 5."


@pytest.mark.parametrize("retrieval", [{}, {"max_doubt": 1.0}, {"sentences": 2}])
def test_without_a_limit_the_model_decides(retrieval: dict[str, Any]) -> None:
    answer, chat = ask(UNSAID, **retrieval)
    assert (answer.text, len(chat.calls)) == ("5 percent", 1)


def test_passages_stay_whole_where_only_doubt_is_asked_for() -> None:
    _, chat = ask(SAID, max_doubt=0.5)
    assert "Canaries start at 5 percent." in str(chat.calls)
    assert "As said." in str(chat.calls)
    _, chat = ask(SAID, max_doubt=0.5, sentences=1)
    assert "As said." not in str(chat.calls)


def test_a_project_without_the_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passage_retriever, "hooks", lambda _: {})
    assert ask(UNSAID)[0].text == "5 percent"
    with pytest.raises(SluiceError, match=r"retrieval\.sentences, max_doubt: .* left out the extra `evidence`"):
        ask(UNSAID, sentences=3)
