"""The application of this project, run as the engine runs it over doubles."""

from __future__ import annotations

import asyncio

from assistant.grammar import grammar
from assistant.question import earlier_turns
from sluice.extend import Answer, testing

QUESTION = "How much overlap do chunks have?"


def ask(chat: testing.ScriptedChat, question: str = QUESTION) -> Answer:
    search = testing.ScriptedRetriever(testing.HITS)
    runner = testing.run_application(chat, search)
    return asyncio.run(runner.answer([{"role": "user", "content": question}]))


def test_an_answer_out_of_the_passages() -> None:
    answer = ask(testing.ScriptedChat({"overlap": "64 tokens"}))
    assert (answer.text, answer.declined) == ("64 tokens", False)
    assert [citation.document for citation in answer.citations] == ["chunking"]


def test_without_a_near_passage_no_model_is_asked() -> None:
    chat = testing.ScriptedChat({})
    assert ask(chat, "What is the capital of Peru?").declined
    assert chat.calls == []


def test_earlier_turns_are_those_before_the_last_question() -> None:
    messages = [{"role": role, "content": role} for role in ("user", "assistant", "system", "user")]
    assert earlier_turns(messages, 2) == messages[:2]
    assert earlier_turns(messages[-1:], 2) == []


def test_a_grammar_allows_spans_and_the_decline_text() -> None:
    allowed = grammar(["Five percent."], "No.")
    assert allowed.startswith('root ::= "No." | [Ff] "ive" r1 | [Pp] "ercent" r2')
