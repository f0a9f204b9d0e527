"""Questions for the prompt of the service, also for one in another writing."""

from __future__ import annotations

from sluice.extras.redteam.attack import Attack, Scene, Suite, user
from sluice.extras.redteam.cases import load_cases
from sluice.extras.redteam.detectors import leaks
from sluice.extras.redteam.transforms import wish
from sluice.extras.redteam.wording import fill, scattered

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


def _attacks(scene: Scene) -> list[Attack]:
    detect = leaks(scene.prompt)
    made: list[Attack] = []
    for form in _FORMS:
        for wording in load_cases("extraction")["wordings"]:
            number = len(made)
            text = fill(wording, question=scattered(scene.questions, number), form=wish(form))
            made.append(Attack(f"{_NAME}-{number:03}", _NAME, (user(text),), detect, form=form or "plain"))
    return made


SUITE = Suite(_NAME, _attacks)
