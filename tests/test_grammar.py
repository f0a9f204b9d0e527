"""The grammar that holds a model to spans of the passages."""

from __future__ import annotations

import asyncio

import pytest

from assistant.grammar import grammar
from sluice.extend import testing

OVERLAP = "How much overlap do chunks have?"


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


@pytest.mark.parametrize("answers", ["spans", "any"])
def test_the_model_is_held_to_the_passages_that_it_was_shown(answers: str) -> None:
    chat = testing.ScriptedChat(script={OVERLAP: "64 tokens"})
    bundle = testing.scripted_bundle(answers=answers)
    runner = testing.run_application(chat, testing.ScriptedRetriever(testing.HITS), bundle=bundle)
    asyncio.run(runner.answer([{"role": "user", "content": OVERLAP}]))
    shown = [hit.text for hit in testing.HITS[OVERLAP]]
    assert chat.calls[0].get("grammar") == {"spans": grammar(shown, testing.DECLINE), "any": None}[answers]
    assert chat.calls[0]["max_tokens"] == 7
