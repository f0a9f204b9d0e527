"""Typed settings: frozen models that forbid unknown keys, read from YAML; every error names its line.

Subclass `Settings`, then `load_settings(path, Model)`. Nothing is read at import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, TypeVar, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.errors import nearest as nearest
from sluice.core.removed import replacement


class Settings(BaseModel):
    """Base of every config object: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)


Place = tuple[str | int, ...]
Lines = dict[Place, int]
_MOST_KEYS = 100_000


def read_yaml(path: Path) -> tuple[Any, Lines]:
    """Return the parsed document and the 1-based line of each key path, such as ("messages", 0, "role")."""
    try:
        return parse_yaml(path.read_bytes(), path)
    except FileNotFoundError:
        raise SluiceError(f"{path}: no such file", remedy="restore it with git, or correct the path") from None
    except IsADirectoryError:
        raise SluiceError(f"{path}: is a folder, not a file") from None


def parse_yaml(content: bytes, place: PurePath | str) -> tuple[Any, Lines]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SluiceError(f"{place}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    try:
        return bounded_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{place}:{mark.line + 1}" if mark else str(place)
        raise SluiceError(f"{where}: not valid YAML: {getattr(error, 'problem', error)}") from None


def bounded_yaml(text: str) -> tuple[Any, Lines]:
    """Parse a text; yaml.YAMLError also for too many keys, aliases included, and for too much depth."""
    try:
        lines: Lines = {}
        loader = yaml.SafeLoader(text)
        if (node := loader.get_single_node()) is None:
            return None, lines
        _collect_lines(node, (), lines)
        return loader.construct_document(node), lines
    except RecursionError:
        raise yaml.YAMLError("nested too deeply, or an alias that contains itself") from None
    except ValueError as error:  # a date or a number that is none
        raise yaml.YAMLError(str(error)) from None


def _collect_lines(node: yaml.Node, at: Place, lines: Lines) -> None:
    if len(lines) > _MOST_KEYS:  # aliases of aliases: a few lines that stand for millions
        raise yaml.MarkedYAMLError(problem=f"more than {_MOST_KEYS} keys", problem_mark=node.start_mark)
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*at, str(key.value))
            if below in lines:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} stands here twice", problem_mark=key.start_mark)
            lines[below] = key.start_mark.line + 1
            _collect_lines(value, below, lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _collect_lines(item, (*at, number), lines)


def load_settings(path: Path, model: type[S]) -> S:
    document, lines = read_yaml(path)
    return validated(path, document if document is not None else {}, lines, model)


def validated(path: Path, document: Any, lines: Lines, model: type[S], section: str = "", *, remedy: str = "") -> S:
    """Parse a document, or one section of it."""
    try:
        return model.model_validate(document[section] if section else document)
    except ValidationError as error:
        faults = describe_faults(path, error, lines, model, section)
        raise ValidationErrors(str(path), faults, remedy=remedy) from None


def describe_faults(
    path: PurePath | str, error: ValidationError, lines: Lines, model: type[BaseModel], section: str = ""
) -> list[str]:
    """Put errors of pydantic into words, with the nearest valid key for an unknown one."""
    faults = []
    for fault in error.errors():
        place: Place = (section, *fault["loc"]) if section else fault["loc"]
        what = fault["msg"]
        if fault["type"] == "extra_forbidden":
            gone = replacement(f"{PurePath(path).name}: {'.'.join(map(str, place))}")
            what = f"unknown key{gone or nearest(str(place[-1]), _keys_at(model, fault['loc'][:-1]))}"
        faults.append(f"{place_of(path, place, lines)}: {what}")
    return faults


def place_of(path: PurePath | str, place: Place, lines: Mapping[Place, int]) -> str:
    known = place
    while known and known not in lines:
        known = known[:-1]
    return ": ".join([f"{path}:{lines.get(known, 1)}", *([".".join(map(str, place))] if place else [])])


def _keys_at(model: type[BaseModel], place: Place) -> list[str]:
    """Return the valid keys of the model at a place, as they are written in the file."""
    fields = _fields(model)
    parts = iter(place)
    for part in parts:
        if part not in fields:
            return []
        annotation = fields[part].annotation
        if get_origin(annotation) in (dict, list, tuple):
            next(parts, None)  # the key or number of one entry
        fields = _fields(_model_in(annotation))
    return list(fields)


def _fields(model: Any) -> dict[Any, FieldInfo]:
    if model is None:
        return {}
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (found := _model_in(inner)) is not None:
            return found
    return None
