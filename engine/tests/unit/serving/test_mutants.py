"""What the fuzzing changes of a body."""

from __future__ import annotations

import json
import random

from support.serving.mutants import mutant

BODY = {"messages": [{"role": "user", "content": "Why?"}], "stream": False}


def test_a_mutant_differs_can_be_sent_and_comes_again_from_the_same_draw() -> None:
    before = json.dumps(BODY)
    found = [[mutant(BODY, draw) for _ in range(200)] for draw in (random.Random(1), random.Random(1))]
    assert found[0] == found[1]
    sent = {json.dumps(each) for each in found[0]}
    assert len(sent) > 80
    assert json.dumps(BODY) == before
    assert sum(each == BODY for each in found[0]) < 10  # a value may be drawn that is there already
    assert any("messages" not in each for each in found[0])
    assert any(not isinstance(each.get("messages"), list) for each in found[0])


def test_what_is_empty_becomes_something_else() -> None:
    assert len({repr(mutant({}, random.Random(number))) for number in range(20)}) > 5
