from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from sluice.prompts import Prompt

GOOD: dict[str, Any] = {
    "name": "greet",
    "description": "Greets.",
    "model": "chat",
    "modelParameters": {"temperature": 0.5, "maxTokens": 20, "topP": 0.9, "seed": 2, "stop": ["END"]},
    "messages": [{"role": "user", "content": "{{text}}"}],
    "variables": [{"name": "text", "type": "string", "required": True, "description": "what"}],
    "testData": [{"text": "hello", "expected": ["Hello"]}],
}
# Where, and a value that must be refused there; None takes the key away.
WRONG: list[tuple[tuple[str | int, ...], Any]] = [
    (("name",), None),
    (("name",), "Greet Me"),
    (("messages", 0, "role"), "robot"),
    (("messages", 0, "rol"), "user"),
    (("modelParameters", "temperature"), 2.5),
    (("modelParameters", "stop"), "END"),
    (("modelParameters", "max_tokens"), 5),
    (("variables", 0, "name"), "a b"),
    (("tests",), []),
]


@pytest.fixture(scope="module")
def schema(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "engine" / "schemas" / "prompt.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def refused(schema: dict[str, Any], document: Any) -> tuple[bool, bool]:
    by_schema = not jsonschema.Draft202012Validator(schema).is_valid(document)
    try:
        Prompt.model_validate(document)
    except ValidationError:
        return by_schema, True
    return by_schema, False


def changed(place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    holder: Any = document
    for part in place[:-1]:
        holder = holder[part]
    if value is None:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return document


def test_both_take_a_good_file_and_every_prompt_of_the_repository(root: Path, schema: dict[str, Any]) -> None:
    paths = sorted((root / "prompts").glob("*.prompt.yml"))
    assert len(paths) >= 2  # those of no extra
    for document in [GOOD, *(yaml.safe_load(path.read_text()) for path in paths)]:
        assert refused(schema, document) == (False, False)


@pytest.mark.parametrize(("place", "value"), WRONG, ids=lambda part: json.dumps(part))
def test_both_refuse_a_malformed_file(schema: dict[str, Any], place: tuple[str | int, ...], value: Any) -> None:
    assert refused(schema, changed(place, value)) == (True, True)
