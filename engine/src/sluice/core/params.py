"""Sections of pipelines/params.yaml, each parsed as the settings of its stage; and setting single values."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError
from sluice.core.removed import replacement
from sluice.core.settings import Lines, Settings, nearest, parse_yaml, place_of, read_yaml, validated

S = TypeVar("S", bound=Settings)


def load_params(path: Path, section: str, model: type[S]) -> S:
    return _section(path, *read_yaml(path), section, model)


def set_params(path: Path, assignments: Iterable[str], models: Mapping[str, type[Settings]]) -> None:
    """Set values in params.yaml; comments and order stay. After an error the file is as it was."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    document = yaml.load(path.read_text(encoding="utf-8"))
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        section, *keys = name.split(".")
        if not equals or not keys or not all(keys):
            raise SluiceError(f"{assignment!r} is not section.key=value", remedy="write it as train.steps=144")
        if section not in models:
            gone = replacement(f"{path.name}: {section}")
            raise SluiceError(f"{assignment!r}: no section {section!r}{gone or nearest(section, list(models))}")
        parsed, _ = parse_yaml(value.encode(), f"{assignment!r}")
        if isinstance(parsed, (dict, list)) or parsed is None:
            raise SluiceError(f"{assignment!r}: the value is not a number, a word or true or false")
        group = document
        for key in (section, *keys[:-1]):
            group = group.setdefault(key, {})
            if not isinstance(group, dict):
                raise SluiceError(f"{assignment!r}: {key!r} is a value, not a group of them")
        group[keys[-1]] = parsed
    stream = io.StringIO()
    yaml.dump(document, stream)
    text = stream.getvalue()
    for section, model in models.items():
        _section(path, *parse_yaml(text.encode(), path), section, model)
    write_atomic(path, text)


def _section(path: Path, document: Any, lines: Lines, section: str, model: type[S]) -> S:
    if not isinstance(document, dict) or section not in document:
        remedy = "restore it; engine/docs/reference/pipeline.md lists the sections"
        raise SluiceError(f"{path}: no section {section!r}", remedy=remedy)
    for name in document:
        if gone := replacement(f"{path.name}: {name}"):
            raise SluiceError(f"{place_of(path, (name,), lines)}: unknown section{gone}")
    return validated(path, document, lines, model, section)
