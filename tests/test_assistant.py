"""The application of this project, run as the engine runs it over doubles."""

from __future__ import annotations

import asyncio

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
