"""A JSON schema with an end: what a small model can go on with for ever, such as a string or a list, gets a limit.

What validates by the bounded schema validates by the schema. Keywords that the grammar of llama.cpp cannot hold are
left out: an answer is held against the whole schema afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

_KEPT = (
    "type", "enum", "const", "required", "minItems", "maxItems", "minLength", "maxLength", "pattern", "format",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "$ref",
)  # fmt: skip
_LISTS, _MAPS = ("anyOf", "oneOf", "allOf", "prefixItems"), ("$defs", "definitions", "properties")
_KEY = "^[A-Za-z_][A-Za-z0-9_]{0,23}$"  # of an object that names no properties
_ROOM = 64  # characters of a string with a format or a pattern
_MOST = 10**9  # of a number without a limit of its own


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", ())
    return [kinds] if isinstance(kinds, str) else [*kinds]


@dataclass(frozen=True)
class _Bounds:
    """Most characters, items, and levels of a part within itself or of any value."""

    characters: int
    items: int
    levels: int


_FREE, _BRIEF = _Bounds(400, 8, 2), _Bounds(24, 1, 1)


def bounded(schema: Mapping[str, Any], *, brief: bool = False) -> dict[str, Any]:
    """The schema with limits."""
    made: dict[str, Any] = _Limiter(schema, _BRIEF if brief else _FREE, brief=brief).of(schema)
    return made


class _Limiter:
    def __init__(self, root: Mapping[str, Any], bounds: _Bounds, *, brief: bool) -> None:
        self._root, self._bounds, self._brief = root, bounds, brief

    def of(self, schema: Any, within: tuple[str, ...] = ()) -> Any:
        if schema is False:
            return False
        if schema is True or not {*schema} & {*_KEPT, *_LISTS, "properties", "items", "additionalProperties"}:
            return self._any(self._bounds.levels)
        if self._brief and "$ref" in schema:
            reference = schema["$ref"]
            return within.count(reference) < self._bounds.levels and self.of(
                self._found(reference), (*within, reference)
            )
        made: dict[str, Any] = {name: schema[name] for name in _KEPT if name in schema}
        if len(schema.get("allOf", ())) > 1:  # closed each by itself, nothing would be in all of them
            return {**schema}
        for name in _LISTS:
            if name in schema:
                made[name] = [self.of(one, within) for one in schema[name]]
        for name in _MAPS if not self._brief else ("properties",):
            if name in schema:
                made[name] = {key: self.of(one, within) for key, one in schema[name].items()}
        kinds = {*_kinds(schema)}
        if "enum" in schema or "const" in schema:
            return made
        if kinds & {"object"} or "properties" in schema:
            self._end_object(schema, made, within)
        if "string" in kinds:
            # A date or a UUID that has no room would make the grammar one that nothing follows.
            room = _ROOM if {"format", "pattern"} & {*schema} else 0
            longest = max(self._bounds.characters, room, schema.get("minLength", 0))
            made["maxLength"] = min(longest, schema.get("maxLength", longest))
        if kinds & {"array"} or "items" in schema:
            fewest = max(schema.get("minItems", 0), len(schema.get("prefixItems", ())))
            most = max(fewest, 0 if self._brief else self._bounds.items)
            made["maxItems"] = min(most, schema.get("maxItems", most))
            made["items"] = self.of(schema.get("items", True), within)
        if kinds & {"integer", "number"}:
            self._end_number(schema, made)
        return made

    def _end_object(self, schema: Mapping[str, Any], made: dict[str, Any], within: tuple[str, ...]) -> None:
        others, needed = schema.get("additionalProperties", True), {*schema.get("required", ())}
        properties = made.setdefault("properties", {})
        if self._brief:
            made["properties"] = properties = {key: one for key, one in properties.items() if key in needed}
        made["additionalProperties"] = False
        properties |= {key: self.of(others, within) for key in needed - {*properties}}
        if not schema.get("properties") and others is not False and not self._brief:
            made["patternProperties"] = {_KEY: self.of(others, within)}
            made["maxProperties"] = max(self._bounds.items, len(needed))

    def _end_number(self, schema: Mapping[str, Any], made: dict[str, Any]) -> None:
        if not {"minimum", "exclusiveMinimum"} & {*schema}:
            made["minimum"] = min(-_MOST, schema.get("maximum", 0), schema.get("exclusiveMaximum", 0) - 1)
        if not {"maximum", "exclusiveMaximum"} & {*schema}:
            made["maximum"] = max(_MOST, made.get("minimum", 0), made.get("exclusiveMinimum", 0) + 1)
        lowest = max(ceil(made.get("minimum", -2 * _MOST)), floor(made.get("exclusiveMinimum", -2 * _MOST)) + 1)
        highest = min(floor(made.get("maximum", 2 * _MOST)), ceil(made.get("exclusiveMaximum", 2 * _MOST)) - 1)
        if self._brief and lowest <= highest and "multipleOf" not in made:  # a fraction has no end
            whole = ["integer" if kind == "number" else kind for kind in _kinds(schema)]
            made |= {"type": whole, "minimum": lowest, "maximum": highest}

    def _any(self, levels: int) -> dict[str, Any]:
        kinds: list[Any] = [
            {"type": "string", "maxLength": self._bounds.characters},
            {"type": "integer", "minimum": -_MOST, "maximum": _MOST},
            {"type": "boolean"},
            {"type": "null"},
        ]
        if levels and not self._brief:
            inner = self._any(levels - 1)
            kinds.append({"type": "array", "items": inner, "maxItems": self._bounds.items})
            pairs = {"patternProperties": {_KEY: inner}, "maxProperties": self._bounds.items}
            kinds.append({"type": "object", "additionalProperties": False, **pairs})
        return {"anyOf": kinds}

    def _found(self, reference: str) -> Any:
        found: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            found = found if not key else found[int(key)] if isinstance(found, list) else found[key]
        return found
