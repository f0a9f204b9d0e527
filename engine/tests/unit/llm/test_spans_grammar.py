"""llama.cpp keeps to the grammar of the application that a new project has; a project may have removed it."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.llm.llama_server import LocalServer

grammar = pytest.importorskip("assistant.grammar").grammar
DECLINE = "The handbook does not say."


@pytest.mark.real
@pytest.mark.parametrize(
    "passage",
    [
        'A "quoted" back\\slash and [brackets] cost 3.5 % of £30m - or more.',
        "Größe, naïve café; Здравствуй мир. ΑΒΓ αβγ 𝔘nicode 🙂 straße ßetween",
        "コンテナはポッドの中で動く。서울은 수도이다.",
    ],
)
def test_llama_cpp_says_nothing_that_is_not_there(models: Any, passage: str) -> None:
    asked = {"messages": [{"role": "user", "content": "Write a poem about the sea."}], "max_tokens": 64}
    with LocalServer(models.chat, threads=1, context=512, slots=1) as server:
        said = {
            server._server.handle_chat_completions(
                {**asked, "seed": seed, "temperature": 2.0, "grammar": grammar([passage], DECLINE)}
            )["choices"][0]["message"]["content"]
            for seed in range(5)
        }
    assert all(text and (text == DECLINE or text.casefold() in passage.casefold()) for text in said), said
