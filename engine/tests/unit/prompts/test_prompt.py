from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sluice.core.errors import SluiceError
from sluice.prompts import Prompt

GOOD: dict[str, Any] = {
    "name": "greet",
    "description": "Greets.",
    "model": "chat",
    "modelParameters": {"temperature": 0, "maxTokens": 20},
    "messages": [{"role": "system", "content": "Greet."}, {"role": "user", "content": "{{name}} says {{ text }}!"}],
    "variables": [{"name": "name"}, {"name": "text", "required": False}],
}


def prompt(**changes: Any) -> Prompt:
    return Prompt.model_validate(GOOD | changes)


def test_digest_is_the_same_for_ever() -> None:
    assert prompt().digest == "4c5878180ac2faee745f8c5f1dfaae31bd651e99b7b070f8130c3a90c337df51"


@pytest.mark.parametrize(
    "changes",
    [
        {"description": "Other words."},
        {"testData": [{"name": "x"}]},
        {"variables": [{"name": "name", "description": "who"}, {"name": "text", "required": False, "type": "string"}]},
        {"modelParameters": {"maxTokens": 20, "temperature": 0.0, "topP": 1, "seed": 1, "stop": []}},
    ],
)
def test_what_the_model_does_not_see_is_not_a_new_version(changes: dict[str, Any]) -> None:
    assert prompt(**changes).digest == prompt().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "embed"},
        {"modelParameters": {"temperature": 0, "maxTokens": 20, "stop": ["\n"]}},
        {"messages": GOOD["messages"][::-1]},
        {"messages": [GOOD["messages"][0], {"role": "user", "content": "{{name}} says {{ text }}! "}]},
        {"variables": [{"name": "name", "type": "number"}, {"name": "text", "required": False}]},
    ],
)
def test_what_the_model_sees_is_a_new_version(changes: dict[str, Any]) -> None:
    assert prompt(**changes).digest != prompt().digest


def test_render_fills_every_variable() -> None:
    assert prompt().render(name="Ada", text=7) == [
        {"role": "system", "content": "Greet."},
        {"role": "user", "content": "Ada says 7!"},
    ]
    assert prompt().render(name="Ada")[1]["content"] == "Ada says !"


@pytest.mark.parametrize("text", ["{{name}}", r"\1 \g<0> {name} %s $name", "{{{{name}}}}"])
def test_values_are_never_expanded_again(text: str) -> None:
    assert prompt().render(name="Ada", text=text)[1]["content"] == f"Ada says {text}!"
    assert prompt().render(name=text, text="x")[1]["content"] == f"{text} says x!"


def test_typed_missing_and_unknown_values() -> None:
    assert prompt(**TYPED).render(count=3, share=0.5, flag=True)[0]["content"] == "3 0.5 true"
    with pytest.raises(SluiceError, match="prompt greet: no value for name"):
        prompt().render(text="x")
    with pytest.raises(SluiceError, match=r"prompt greet: no variable 'nam' \(did you mean 'name'\?\)"):
        prompt().render(nam="x", name="y")


TYPED = {
    "messages": [{"role": "user", "content": "{{count}} {{share}} {{flag}}"}],
    "variables": [
        {"name": "count", "type": "integer"},
        {"name": "share", "type": "number"},
        {"name": "flag", "type": "boolean"},
    ],
}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"count": True}, "count: True is no integer"),
        ({"share": float("nan")}, "share: nan is no finite number"),
        ({"flag": 1}, "flag: 1 is no boolean"),
    ],
)
def test_a_value_of_another_type_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(SluiceError, match=f"prompt greet: {said}"):
        prompt(**TYPED).render(**{"count": 3, "share": 1, "flag": True, **wrong})


@pytest.mark.parametrize("wrong", [{"maxTokens": "20"}, {"temperature": "0"}, {"stop": "END"}])
def test_a_parameter_of_another_type_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        prompt(modelParameters=wrong)
