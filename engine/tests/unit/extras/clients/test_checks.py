from __future__ import annotations

import pytest
from pydantic import ValidationError

from sluice.extras.clients.checks import FormatOptions
from support.guardrails import finder

find = finder("format")
SCHEMA = {"type": "object", "required": ["answer"]}


@pytest.mark.parametrize(
    ("text", "schema", "reasons"),
    [
        ('{"answer": 1}', SCHEMA, []),
        ("[1, 2]", {}, []),
        ('{"other": 1}', SCHEMA, ["format.schema"]),
        ('{"answer": 1', SCHEMA, ["format.not_json"]),
        ("plain words", {}, ["format.not_json"]),
    ],
)
def test_the_form_of_an_answer(text: str, schema: dict[str, object], reasons: list[str]) -> None:
    assert [found.reason for found in find(text, FormatOptions(json_schema=schema))] == reasons


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="not a JSON Schema"):
        FormatOptions(json_schema={"type": "nonsense"})
