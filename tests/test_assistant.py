"""The application of this project, run as the engine runs it over doubles."""

from __future__ import annotations

import asyncio

from sluice.extend import Answer, testing

QUESTION = "How long are logs kept?"
FAR = "What is the capital of Peru?"
HITS = {
    QUESTION: [testing.hit("Logs are kept for 30 days.", doc_id="logs")],
    FAR: [testing.hit("Logs are kept for 30 days.", similarity=0.1)],
}


def ask(chat: testing.ScriptedChat, question: str = QUESTION) -> Answer:
    search = testing.ScriptedRetriever(HITS)
    runner = testing.run_application(chat, search)
    return asyncio.run(runner.answer([{"role": "user", "content": question}]))


def test_an_answer_out_of_the_passages() -> None:
    answer = ask(testing.ScriptedChat({"logs": "30 days"}))
    assert (answer.text, answer.declined) == ("30 days", False)
    assert [citation.document for citation in answer.citations] == ["logs"]


def test_without_a_near_passage_no_model_is_asked() -> None:
    chat = testing.ScriptedChat({})
    assert ask(chat, FAR).declined
    assert chat.calls == []
