"""Outputs of a step: lines in the file named by GITHUB_OUTPUT."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sluice.core.errors import SluiceError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def write_outputs(values: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Appends `name=value` for each to the file that GITHUB_OUTPUT names; returns what it did, in words."""
    for name, value in values.items():
        if not _NAME.fullmatch(name) or "\n" in value or "\r" in value:
            raise SluiceError(f"output {name!r} = {value!r}: a name is letters, digits, - and _; a value is one line")
    if not (path := environment.get("GITHUB_OUTPUT")):
        return "no outputs: GITHUB_OUTPUT is not set"
    with Path(path).open("a", encoding="utf-8") as stream:
        stream.writelines(f"{name}={value}\n" for name, value in values.items())
    return f"{len(values)} outputs written"
