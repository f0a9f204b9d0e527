"""JSON bodies with one change each, for the fuzzing of the service."""

from __future__ import annotations

import random
from copy import deepcopy
from typing import Any

_ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    10**40,
    1e308,
    0.1,
    "",
    " ",
    "\0",
    "\u202e\u200b",
    "\ud55c\uae00 \U0001f600",
    "../../etc/passwd",
    "' OR 1=1 --",
    "x" * 20_000,
    [],
    {},
    [[]],
    [None],
    {"": None},
    ["text"],
    {"type": ["text"]},
    {"$ref": "#"},
)
_DEPTH = 60  # of a value in a value


def mutant(body: Any, draw: random.Random) -> Any:
    """A copy with one change: a value of another type, one left out, one more, one twice, or one deep in others.

    Args:
        body: of a request, an object or a list.
        draw: decides where and what.
    """
    if not body:
        return draw.choice(_ODD)
    changed = deepcopy(body)
    at, key = draw.choice(_places(changed))
    match draw.randrange(6):
        case 0:
            del at[key]
        case 1 if isinstance(at, dict):
            at[f"{key}_"] = at[key]
        case 1:
            at.append(deepcopy(at[key]))
        case 2:
            at[key] = _nested(at[key], draw)
        case _:
            at[key] = deepcopy(draw.choice(_ODD))
    return changed


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value, with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _nested(value: Any, draw: random.Random) -> Any:
    for _ in range(draw.randint(1, _DEPTH)):
        value = [value] if draw.random() < 0.5 else {"content": value}
    return value
