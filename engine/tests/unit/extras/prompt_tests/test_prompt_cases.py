# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""A prompt as the model would see it: values of the type of their variables, faults told at once."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.core.errors import ValidationErrors
from sluice.extras.prompt_tests.prompt_cases import parse_values
from sluice.prompts import Prompt
from unit.test_cli import Run, _alone, run  # noqa: F401 - fixtures

PROMPT = Prompt.model_validate(
    {
        "name": "typed",
        "description": "for tests",
        "model": "chat",
        "messages": [{"role": "user", "content": "{{text}} {{count}} {{share}} {{flag}}"}],
        "variables": [
            {"name": "text"},
            {"name": "count", "type": "integer"},
            {"name": "share", "type": "number"},
            {"name": "flag", "type": "boolean"},
        ],
    }
)


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("text=", {"text": ""}),
        ("text=a=b", {"text": "a=b"}),
        ("text=7", {"text": "7"}),
        ("count=-3", {"count": -3}),
        ("share=3", {"share": 3.0}),
        ("share=1e-3", {"share": 0.001}),
        ("flag=true", {"flag": True}),
        ("flag=false", {"flag": False}),
    ],
)
def test_a_value_has_the_type_of_its_variable(pair: str, value: dict[str, Any]) -> None:
    parsed = parse_values(PROMPT, [pair])
    assert parsed == value
    assert [type(v) for v in parsed.values()] == [type(v) for v in value.values()]


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("text", "'text': write variable=value"),
        ("=x", "'=x': no variable ''"),
        ("txet=x", "'txet=x': no variable 'txet' (did you mean 'text'?)"),
        ("count=3.5", "'count=3.5': '3.5' is no integer"),
        ("share=much", "'share=much': 'much' is no number"),
        ("share=nan", "'share=nan': nan is no finite number"),
        ("flag=yes", "'flag=yes': 'yes' is no true or false"),
    ],
)
def test_what_is_wrong_is_said(pair: str, said: str) -> None:
    with pytest.raises(ValidationErrors) as caught:
        parse_values(PROMPT, [pair])
    assert caught.value.faults == [said]
    assert "count (integer)" in caught.value.remedy


def test_a_prompt_is_shown_with_values(run: Run) -> None:
    status, out, _ = run("prompts", "show", "answer", "--with", "question=a=b?", "--with", "passages={{question}}")
    assert status == 0
    assert out.endswith("[user]\n{{question}}\n\n{{history}}Question: a=b?\n\n")
    assert "say exactly: {{decline}}" in out
    for words, said in (
        (("anwser",), "no prompt 'anwser' (did you mean 'answer'?)"),
        (("answer", "--with", "question"), "'question': write variable=value"),
        (("answer", "--with", "qestion=x"), "no variable 'qestion' (did you mean 'question'?)"),
    ):
        status, out, err = run("prompts", "show", *words)
        assert (status, out) == (1, "")
        assert said in err
