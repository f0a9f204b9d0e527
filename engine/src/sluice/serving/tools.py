"""Functions that a model may be given as tools: those of src/assistant/tools.py and of extras, each with `@tool`.

LangChain makes name, description and JSON schema from signature and docstring, when the application asks for the tools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

from sluice.core.errors import SluiceError
from sluice.core.extras import packages
from sluice.core.registry import APPLICATION, Registry

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

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


def langchain_tools() -> Mapping[str, BaseTool]:
    """The tools by name, as LangChain takes them; without those that write, which ask for an `idempotency_key`."""
    from langchain_core.tools import StructuredTool

    read = {name: one for name, one in TOOLS.items() if "idempotency_key" not in signature(one).parameters}
    return {name: StructuredTool.from_function(function) for name, function in read.items()}
