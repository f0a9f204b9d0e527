"""Honest texts from wheels, read at training time only, as the attacks of `corpora.py` are: source code, commands with
what they print, and the words of user interfaces in many languages. None of their texts is stored or released.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from itertools import cycle
from pathlib import Path

from sluice.extras.guard.corpora import FOLDER, folder, missing
from sluice.extras.guard.guard_features import WINDOW
from sluice.extras.guard.guard_rows import GuardRow

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


def honest_corpora(place: Path | None = None) -> list[GuardRow]:
    """Rows of the wheels Django and awscli in `place`, the same ones every time."""
    place = place or folder()
    django, examples = place / "django", place / "awscli" / "examples"
    if not (django / "conf" / "locale").is_dir() or not examples.is_dir():
        raise missing(place, "honest corpora of Django and awscli", "honest")
    code = (path for path in sorted(django.rglob("*")) if path.suffix in _CODE_FILES and "locale" not in path.parts)
    rows = _sample((_row(text, "code", path, django) for path in code for text in _pieces(path)), _CODE)
    pages = sorted(examples.rglob("*.rst"))[::3]
    rows += _sample((_row(text, "commands", path, examples) for path in pages for text in _paragraphs(path)), _COMMANDS)
    for code_, kind in _LANGUAGES.items():
        files = sorted(django.rglob(f"locale/{code_}/LC_MESSAGES/*.po"))
        words = (_row(text, kind, path, django) for path in files for text in _ENTRY.findall(path.read_text("utf-8")))
        rows += _sample(words, _FEW_WORDS if kind == "tongues" else _WORDS)
    return rows


def _row(text: str, kind: str, path: Path, root: Path) -> GuardRow:
    """Texts of one folder stay together when the model is judged."""
    folder = "-".join(path.parent.relative_to(root).parts[:2])
    return GuardRow(text=text, label="benign", family=f"{kind}/{FOLDER}-{folder}")


def _sample(rows: Iterator[GuardRow], most: int) -> list[GuardRow]:
    found = {row.text: row for row in rows}
    return sorted(found.values(), key=lambda row: sha256(row.text.encode()).digest())[:most]


def _pieces(path: Path) -> Iterator[str]:
    """A few lines each."""
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
