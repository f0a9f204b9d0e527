"""Requests for the system prompt of the service, also in an encoded form."""

from __future__ import annotations

from sluice.extras.redteam.attack import Attack, AttackFixture, AttackSuite, user
from sluice.extras.redteam.attack_wording import fill, scattered
from sluice.extras.redteam.cases import load_cases
from sluice.extras.redteam.detectors import leaks
from sluice.extras.redteam.transforms import wish

_NAME = "prompt_extraction"
# Plain, and ten forms in which a filter that looks for the words of the prompt does not find them.
_FORMS = (
    "",
    "base64",
    "hex",
    "rot13",
    "url",
    "leetspeak",
    "backwards",
    "spaced",
    "full_width",
    "homoglyphs",
    "zero_width",
)


def _attacks(scene: AttackFixture) -> list[Attack]:
    detect = leaks(scene.prompt)
    made: list[Attack] = []
    for form in _FORMS:
        for wording in load_cases("extraction")["wordings"]:
            number = len(made)
            text = fill(wording, question=scattered(scene.questions, number), form=wish(form))
            made.append(Attack(f"{_NAME}-{number:03}", _NAME, (user(text),), detect, form=form or "plain"))
    return made


SUITE = AttackSuite(_NAME, _attacks)
