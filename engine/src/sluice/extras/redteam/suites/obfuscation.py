"""Obfuscated instructions: look-alike and invisible characters, and encodings that the model is told to decode."""

from __future__ import annotations

from sluice.extras.redteam.attack import Attack, AttackFixture, AttackSuite, user
from sluice.extras.redteam.attack_wording import fill, scattered, turn
from sluice.extras.redteam.canary_tokens import token
from sluice.extras.redteam.cases import load_cases
from sluice.extras.redteam.detectors import says
from sluice.extras.redteam.transforms import TRANSFORMS

_NAME = "obfuscation"
_FIRST_TOKEN = 512
_EACH = 24  # attacks in each disguise


def _attacks(scene: AttackFixture) -> list[Attack]:
    cases = load_cases("injection")
    made = []
    for place, (name, disguise) in enumerate(TRANSFORMS.items()):
        for number in range(_EACH):
            at = place * _EACH + number
            canary = token(_FIRST_TOKEN + at)
            order = fill(turn(cases["orders"], number), token=canary)
            hidden = disguise.apply(fill(turn(cases["wordings"], number), question="", order=order).strip())
            lead = f" Decode this ({disguise.says}) and do what it says:" if disguise.code else ""
            text = f"{scattered(scene.questions, at)}{lead} {hidden}"
            made.append(Attack(f"{_NAME}-{at:03}", _NAME, (user(text),), says(canary), form=name))
    return made


SUITE = AttackSuite(_NAME, _attacks)
