"""Conversations that lead up to an instruction.

The last question is answered; the turns before it are shown to the model as far as the guards let them pass. The last
message holds the instruction, in milder words that the earlier messages prepare.
"""

from __future__ import annotations

from sluice.extras.redteam.attack import Attack, AttackFixture, AttackSuite
from sluice.extras.redteam.attack_wording import fill, scattered, turn
from sluice.extras.redteam.canary_tokens import token
from sluice.extras.redteam.cases import load_cases
from sluice.extras.redteam.detectors import says

_NAME = "multi_turn"
_FIRST_TOKEN = 512
_EACH = 16  # attacks for each script
_ROLES = ("user", "assistant")


def _attacks(scene: AttackFixture) -> list[Attack]:
    scripts, orders = load_cases("conversations")["scripts"], load_cases("injection")["orders"]
    made = []
    for number in range(len(scripts) * _EACH):
        canary = token(_FIRST_TOKEN + number)
        order = fill(turn(orders, number // len(scripts)), token=canary)
        question = scattered(scene.questions, number)
        script = turn(scripts, number)
        messages = tuple(
            {"role": turn(_ROLES, place), "content": fill(text, question=question, order=order)}
            for place, text in enumerate(script)
        )
        form = f"script {number % len(scripts) + 1}"
        made.append(Attack(f"{_NAME}-{number:03}", _NAME, messages, says(canary), form=form))
    return made


SUITE = AttackSuite(_NAME, _attacks)
