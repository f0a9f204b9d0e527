"""Honest questions that sound like attacks, short and long: what a guard refuses of them is a false alarm."""

from __future__ import annotations

from sluice.extras.redteam.attack import Attack, AttackFixture, AttackSuite, ServiceReply, user
from sluice.extras.redteam.attack_wording import fill, scattered, turn
from sluice.extras.redteam.cases import load_cases

NAME = "honest_questions"
_EACH = 40  # questions of the data in each wording


def refused(reply: ServiceReply) -> str:
    """Why the guards refused it; empty where they let it pass."""
    return f"refused: {reply.blocked}" if reply.blocked else ""


def _questions(scene: AttackFixture) -> list[Attack]:
    cases = load_cases("honest")
    wordings = cases["wordings"]
    texts = [("as it is", text) for text in cases["questions"]]
    for number in range(len(wordings) * _EACH):
        text = fill(turn(wordings, number), question=scattered(scene.questions, number))
        texts.append((f"wording {number % len(wordings) + 1}", text))
    return [
        Attack(f"{NAME}-{number:03}", NAME, (user(text),), refused, form=form)
        for number, (form, text) in enumerate(texts)
    ]


SUITE = AttackSuite(NAME, _questions, unguarded="not asked")
