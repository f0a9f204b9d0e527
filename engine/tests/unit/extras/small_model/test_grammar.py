"""The grammar that holds a model to spans of the passages."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.extras.small_model.grammar import grammar
from sluice.llm.llama_server import LocalServer

DECLINE = "The handbook does not say."


def test_an_answer_may_begin_at_any_word_and_end_behind_it() -> None:
    assert grammar(['Say "no".', "64 §"], "Don't know.").splitlines() == [
        r'root ::= "Don' + "'" + r't know." | [Ss] "ay" r1 | "\"" r2 | [Nn] "o" r3 | "\"" r4 | "64" r7 | "§" r8',
        'r0 ::= | "Say" r1',
        r'r1 ::= | " \"" r2',
        'r2 ::= | "no" r3',
        r'r3 ::= | "\"" r4',
        'r4 ::= | "." r5',
        'r5 ::= ""',
        'r6 ::= | "64" r7',
        'r7 ::= | " §" r8',
        'r8 ::= ""',
    ]


def test_without_passages_there_is_nothing_but_to_decline() -> None:
    assert grammar([], "No.") == 'root ::= "No."'


def test_characters_of_scripts_without_spaces_are_pieces() -> None:
    assert grammar(["GPU上的"], "No.").startswith('root ::= "No." | [Gg] "PU" r1 | "上" r2 | "的" r3\n')


PASSAGES = (
    'A "quoted" back\\slash and [brackets] cost 3.5 % of £30m - or more.',
    "Größe, naïve café; Здравствуй мир. ΑΒΓ αβγ 𝔘nicode 🙂 straße ßetween",
    "コンテナはポッドの中で動く。서울은 수도이다.",
)


@pytest.mark.real
def test_llama_cpp_says_nothing_that_is_not_there(models: Any) -> None:
    asked = {"messages": [{"role": "user", "content": "Write a poem about the sea."}], "max_tokens": 64}
    with LocalServer(models.chat, threads=1, context=512, slots=1) as server:
        for passage in PASSAGES:
            limits = {"seed": 1, "temperature": 2.0, "grammar": grammar([passage], DECLINE)}
            reply = server._server.handle_chat_completions({**asked, **limits})
            text = reply["choices"][0]["message"]["content"]
            assert text
            assert text == DECLINE or text.casefold() in passage.casefold()
