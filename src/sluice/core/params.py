"""Sections of pipelines/params.yaml, each read as the settings of the stage it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from sluice.core.errors import Faults, SluiceError
from sluice.core.settings import Settings, describe_faults, read_yaml

S = TypeVar("S", bound=Settings)


def load_params(path: Path, section: str, model: type[S]) -> S:
    """Section `section` of params.yaml as `model`; faults carry file and line."""
    document, lines = read_yaml(path)
    if not isinstance(document, dict) or section not in document:
        raise SluiceError(
            f"{path}: no section {section!r}", remedy="restore it; docs/reference/pipeline.md lists the sections"
        )
    try:
        return model.model_validate(document[section])
    except ValidationError as error:
        below = {place[1:]: line for place, line in lines.items() if place[:1] == (section,)}
        raise Faults(str(path), describe_faults(path, error, below, model)) from None
