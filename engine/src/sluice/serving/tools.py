"""Functions that a model may be given as tools: those of src/assistant/tools.py and of extras, each with `@tool`.

LangChain makes name, description and JSON schema from signature and docstring, when the application asks for the tools.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sluice.core.errors import SluiceError
from sluice.core.extras import packages
from sluice.core.registry import APPLICATION, Registry

TOOLS: Registry[Callable[..., Any]] = Registry("tool", *packages("functions"), f"{APPLICATION}.tools")
F = TypeVar("F", bound=Callable[..., Any])


def tool(function: F) -> F:
    """Function decorator: `Services.tools` has the function under its name.

    Raises:
        SluiceError: it has no docstring, which is what a model knows of it, or its name is taken.
    """
    if not (function.__doc__ or "").strip():
        raise SluiceError(f"{function.__module__}: the tool {function.__name__} has no docstring")
    TOOLS.add(function.__name__, function, function.__module__)
    return function
