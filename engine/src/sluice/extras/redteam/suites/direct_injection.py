"""Instructions in the question itself."""

from __future__ import annotations

from sluice.extras.redteam.attack import Attack, AttackFixture, AttackSuite, user
from sluice.extras.redteam.attack_wording import fill, scattered, turn
from sluice.extras.redteam.canary_tokens import token
from sluice.extras.redteam.cases import load_cases
from sluice.extras.redteam.detectors import says

_NAME = "direct_injection"
_FIRST_TOKEN = 512  # those before lie in planted documents


def _attacks(scene: AttackFixture) -> list[Attack]:
    cases = load_cases("injection")
    wordings, orders = cases["wordings"], cases["orders"]
    made = []
    for number in range(len(wordings) * len(orders)):
        canary = token(_FIRST_TOKEN + number)
        order = turn(orders, number // len(wordings))
        text = fill(
            turn(wordings, number), question=scattered(scene.questions, number), order=fill(order, token=canary)
        )
        form = f"wording {number % len(wordings) + 1}"
        made.append(Attack(f"{_NAME}-{number:03}", _NAME, (user(text),), says(canary), form=form))
    return made


SUITE = AttackSuite(_NAME, _attacks)
