"""What this project adds to the engine: its metrics, tools and endpoints."""

from __future__ import annotations

import re

import pytest

from assistant.metrics.answers import AnswerWords
from assistant.routes import router
from assistant.tools import today
from sluice.extend import APIRouter, Output, Row


@pytest.mark.parametrize(("text", "declined", "words"), [("64 tokens", False, 2), ("", False, 0), ("No.", True, None)])
def test_answer_words(text: str, declined: bool, words: float | None) -> None:
    row = Row(id="q", question="How much?", answers=("64 tokens",), doc_ids=("chunking",))
    output = Output(text, declined, (), (), 1.0, None, 0, 0)
    assert AnswerWords().score(row, output) == words


def test_a_tool_is_a_function() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", today())


def test_the_endpoints_are_a_router() -> None:
    assert isinstance(router, APIRouter)
