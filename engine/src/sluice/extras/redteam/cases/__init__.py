"""Wordings of the attacks, written for this project: one file for each attack vector."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml


@cache
def load_cases(name: str) -> Mapping[str, Any]:
    """What cases/<name>.yaml holds; read once, so not to be changed."""
    text = resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = yaml.safe_load(text)
    return loaded
