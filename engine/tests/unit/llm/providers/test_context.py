from __future__ import annotations

import pytest

from sluice.llm.chat import AnswerConstraint
from sluice.llm.providers import ProviderContext
from sluice.llm.settings import ProviderSpec
from support.serving.fakes import provider_entry


@pytest.mark.parametrize(
    ("entry", "grammar"),
    [({}, 'root ::= "a"'), ({"kind": "openai_compatible", "base_url": "http://localhost/v1"}, None)],
    ids=["local", "other"],
)
def test_a_grammar_is_for_llama_cpp_alone(entry: dict[str, str], grammar: str | None) -> None:
    spec = ProviderSpec.model_validate(provider_entry(**entry))
    values = ProviderContext(spec).parameters(
        AnswerConstraint.model_validate({"grammar": 'root ::= "a"', "maxTokens": 9})
    )
    assert (values.get("grammar"), values["max_tokens"]) == (grammar, 9)
