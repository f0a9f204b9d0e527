"""What the application does with greetings and earlier turns, and what is measured of it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from assistant.metrics.answers import RIGHT, NearestSentence, NearestTwo
from sluice.extend import Answer, Output, Prompt, Row, testing

WELCOME = {
    "name": "welcome",
    "description": "for tests",
    "model": "chat",
    "messages": [{"role": "user", "content": "{{history}}Said: {{question}}"}],
    "variables": [{"name": "history"}, {"name": "question"}],
}
HISTORY = {"condense": {"enabled": False, "turns": 2, "max_characters": 40, "timeout_seconds": 2}}
LOGS = "How long are logs kept?"
HITS = {"And the weather?": [testing.hit("Logs are kept for 30 days.", similarity=0.1)]}


def ask(chat: testing.ScriptedChat, *messages: str, **service: Any) -> Answer:
    bundle = testing.scripted_bundle(**service)
    prompts = {**bundle.prompts, "welcome": Prompt.model_validate(WELCOME)}
    runner = testing.run_application(
        chat, testing.ScriptedRetriever(HITS), bundle=dataclasses.replace(bundle, prompts=prompts)
    )
    roles = ("user", "assistant")
    said = [{"role": roles[number % 2], "content": text} for number, text in enumerate(messages)]
    answer: Answer = asyncio.run(runner.answer(said))
    return answer


def test_without_a_near_passage_the_welcome_prompt_is_asked() -> None:
    chat = testing.ScriptedChat({"Said: And the weather?": "Hello! Ask me something."})
    answer = ask(chat, "And the weather?")
    assert (answer.text, answer.declined) == ("Hello! Ask me something.", False)


def test_a_second_turn_is_shown_with_what_was_said_before_it() -> None:
    chat = testing.ScriptedChat({"Said: And the weather?": testing.DECLINE})
    assert ask(chat, LOGS, "30 days", "And the weather?", **HISTORY).declined
    (call,) = chat.calls
    assert call["messages"][-1][1] == f"Earlier:\nUser: {LOGS}\nAssistant: 30 days\n\nSaid: And the weather?"


class _ByLetter:
    """The vector of a text says whether it has an x, a y and a z."""

    async def of(self, texts: list[str]) -> Any:
        import numpy as np

        return [np.array([float(letter in text) for letter in "xyz"]) for text in texts]


@pytest.mark.parametrize(("metric", "right"), [(NearestSentence, 0.0), (NearestTwo, 1.0)])
def test_the_baselines_are_the_nearest_sentences(metric: Any, right: float) -> None:
    row = Row(id="q", question="x y z?", answers=("5",), doc_ids=("d",), tags=("why",))
    output = Output("no", passages=("Of x y z. Of y z: 5.", "None. Of x."))
    assert asyncio.run(metric(_ByLetter()).score(row, output)) == right
    declined = row.model_copy(update={"doc_ids": (), "answers": ()})
    assert asyncio.run(metric(_ByLetter()).score(declined, output)) is None


def test_each_kind_of_question_has_a_metric() -> None:
    row = Row(id="q", question="Why?", answers=("5",), doc_ids=("d",), tags=("deployment", "why"))
    found = {kind: metric.score(row, Output("It is 5.")) for kind, metric in RIGHT.items()}
    assert {kind: one for kind, one in found.items() if one is not None} == {"why": 1.0}
