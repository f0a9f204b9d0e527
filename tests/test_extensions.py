"""What this project adds to the engine: its metrics, tools and endpoints."""

from __future__ import annotations

import re

import pytest

from assistant.metrics.answers import ANSWER_SENTENCES, ANSWER_STEPS, ANSWER_WORDS, NAMES_SOURCE
from assistant.routes import router
from assistant.tools import today
from sluice.extend import APIRouter, Output, Row


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("30 days", (2, 1, 0, 0)),
        ("1. Cut it.\n2. Keep 30 days.", (7, 2, 2, 0)),
        ("They stay 30 days (Logs).", (5, 1, 0, 1)),
        ("According to Logs: They stay 30 days.", (7, 1, 0, 1)),
    ],
)
def test_the_form_of_an_answer(text: str, form: tuple[int, ...]) -> None:
    row = Row(id="q", question="How long?", answers=("30 days",), doc_ids=("logs",))
    forms = (ANSWER_WORDS, ANSWER_SENTENCES, ANSWER_STEPS, NAMES_SOURCE)
    assert tuple(one.score(row, Output(text)) for one in forms) == form
    assert {one.score(row, Output(text, declined=True)) for one in forms} == {None}


def test_a_tool_is_a_function() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", today())


def test_the_endpoints_are_a_router() -> None:
    assert isinstance(router, APIRouter)
