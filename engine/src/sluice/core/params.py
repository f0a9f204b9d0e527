"""Sections of pipelines/params.yaml, each parsed as the settings of its stage; and setting single values."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Lines, Settings, describe_faults, nearest, parse_yaml, read_yaml

S = TypeVar("S", bound=Settings)


def load_params(path: Path, section: str, model: type[S]) -> S:
    """Section `section` of params.yaml as `model`; faults carry file and line."""
    return _section(path, *read_yaml(path), section, model)


def set_params(path: Path, assignments: Iterable[str], models: Mapping[str, type[Settings]]) -> None:
    """Sets each `section.key=value` in params.yaml; comments and order stay. `models`: the settings of every section.

    SluiceError, and the file stays as it was, when an assignment is none or a section would no longer be valid.
    """
    yaml, document = _editable(path)
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        section, *keys = name.split(".")
        if not equals or not keys or not all(keys):
            raise SluiceError(f"{assignment!r} is not section.key=value", remedy="write it as train.steps=144")
        if section not in models:
            raise SluiceError(f"{assignment!r}: no section {section!r}{nearest(section, list(models))}")
        _set(document, [section, *keys], _scalar(value, assignment), assignment)
    text = _written(yaml, document)
    for section, model in models.items():
        _section(path, *parse_yaml(text.encode(), path), section, model)
    write_atomic(path, text)


def set_value(path: Path, keys: Sequence[str], value: float | str, model: type[Settings]) -> None:
    """Sets one value of a settings file of `model`; comments and order stay. SluiceError, and the file stays as it
    was, when it would no longer be valid."""
    yaml, document = _editable(path)
    _set(document, list(keys), value, f"{'.'.join(keys)}={value}")
    text = _written(yaml, document)
    parsed, lines = parse_yaml(text.encode(), path)
    try:
        model.model_validate(parsed)
    except ValidationError as error:
        raise ValidationErrors(str(path), describe_faults(path, error, lines, model)) from None
    write_atomic(path, text)


def _editable(path: Path) -> tuple[Any, Any]:
    """What writes the file, keeping what a person has written around the values, and its content."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml, yaml.load(path.read_text(encoding="utf-8"))


def _written(yaml: Any, document: Any) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _section(path: Path, document: Any, lines: Lines, section: str, model: type[S]) -> S:
    if not isinstance(document, dict) or section not in document:
        raise SluiceError(
            f"{path}: no section {section!r}", remedy="restore it; engine/docs/reference/pipeline.md lists the sections"
        )
    try:
        return model.model_validate(document[section])
    except ValidationError as error:
        below = {place[1:]: line for place, line in lines.items() if place[:1] == (section,)}
        raise ValidationErrors(str(path), describe_faults(path, error, below, model)) from None


def _scalar(value: str, assignment: str) -> Any:
    parsed, _ = parse_yaml(value.encode(), f"{assignment!r}")
    if isinstance(parsed, (dict, list)) or parsed is None:
        raise SluiceError(f"{assignment!r}: the value is not a number, a word or true or false")
    return parsed


def _set(document: Any, keys: list[str], value: Any, assignment: str) -> None:
    for key in keys[:-1]:
        document = document.setdefault(key, {})
        if not isinstance(document, dict):
            raise SluiceError(f"{assignment!r}: {key!r} is a value, not a group of them")
    document[keys[-1]] = value
