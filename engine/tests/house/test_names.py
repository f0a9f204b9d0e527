"""One meaning for each class name, and the field's words: names of classes and modules of the engine."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "sluice"

# Class name -> why it may stand for more than one thing.
SHARED: dict[str, str] = {}

METAPHORS = {
    "road",
    "arrival",
    "delivery",
    "place",
    "places",
    "turn",
    "seen",
    "kit",
    "lane",
    "parcel",
    "parcels",
    "obedient",
}
FIELD = {"multi_turn"}  # attacks over several turns of a conversation: the literature's word
# A class is named by a noun; a participle needs one behind it, as in `StagedRelease`.
IRREGULAR = {
    "Built",
    "Done",
    "Drawn",
    "Found",
    "Given",
    "Held",
    "Kept",
    "Known",
    "Lost",
    "Made",
    "Put",
    "Run",
    "Seen",
    "Sent",
    "Shown",
    "Swept",
    "Taken",
    "Told",
    "Written",
}
NOUNS = {"Run"}


def classes() -> Iterator[tuple[str, str]]:
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield node.name, f"{path.relative_to(SRC)}:{node.lineno}"


def words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def participle(name: str) -> bool:
    bare = name.lstrip("_")
    return len(words(bare)) == 1 and (bare in IRREGULAR - NOUNS or bool(re.fullmatch(r"[A-Z][a-z]+ed", bare)))


def test_a_class_name_has_one_meaning() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for name, where in classes():
        found[name].append(where)
    assert {name: where for name, where in found.items() if len(where) > 1 and name not in SHARED} == {}


def test_names_that_may_be_shared_are_shared() -> None:
    names = [name for name, _ in classes()]
    assert {name for name in SHARED if names.count(name) < 2} == set()


def test_classes_and_modules_use_the_words_of_the_field() -> None:
    modules = {path.stem if path.stem != "__init__" else path.parent.name for path in SRC.rglob("*.py")} - FIELD
    found = [where + " " + name for name, where in classes() if METAPHORS & set(words(name))]
    assert found + sorted(name for name in modules if METAPHORS & set(name.split("_"))) == []


def test_a_class_is_named_by_a_noun() -> None:
    assert [f"{where} {name}" for name, where in classes() if participle(name)] == []


@pytest.mark.parametrize("name", ["Made", "_Shown", "Restored", "Judged"])
def test_a_participle_is_found(name: str) -> None:
    assert participle(name)


@pytest.mark.parametrize("name", ["Run", "StagedRelease", "CachedModel", "NeedError", "Speedup", "Redaction"])
def test_a_noun_is_none(name: str) -> None:
    assert not participle(name)
