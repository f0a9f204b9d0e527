"""The function that upgrades of version 0.1.0 call in the new engine, when parts were still cut out of the source."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def remove(root: Path, names: Iterable[str]) -> list[str]:  # noqa: ARG001 - the caller is an older engine
    """Return no changed paths: parts are whole now, and `without:` of config/project.yaml switches them off."""
    return []
