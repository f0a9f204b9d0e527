"""The contract of an application: a LangChain Runnable over {"messages": [{role, content}, …]}, which is a chain or a
LangGraph graph, or an async function or generator of the same.

`config/project.yaml` names its builder: `application: assistant.app:build`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.runnables import Runnable, RunnableLambda

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.serving.chat_model import heard

if TYPE_CHECKING:
    from sluice.serving.services import Services


Application: TypeAlias = "Runnable[dict[str, Any], Any] | Callable[[dict[str, Any]], Any]"
Build: TypeAlias = "Callable[[Services], Application]"


def load_build(name: str) -> Build:
    place = f"config/project.yaml: application: {name!r}"
    module, _, function = name.partition(":")
    remedy = "name a function of src/, as in `application: assistant.app:build`"
    try:
        found = importlib.import_module(module)
    except SluiceError:
        raise
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise SluiceError(f"{place}: no module {error.name!r}", remedy=remedy) from None
        raise SluiceError(
            f"{place}: {module} needs a package that is not installed: {error.name}",
            remedy="name it in pyproject.toml; `make setup` brings what the engine has, and `make try` less",
        ) from error
    except Exception as error:
        raise SluiceError(f"{place}: {module} cannot be imported: {type(error).__name__}: {error}") from error
    build = getattr(found, function, None)
    if not callable(build):
        known = [one for one in vars(found) if callable(getattr(found, one)) and not one.startswith("_")]
        raise SluiceError(f"{place}: {module} has no function {function!r}{nearest(function, known)}", remedy=remedy)
    made: Build = build
    return made


def built_application(name: str, services: Services) -> Application:
    built = load_build(name)(services)
    if not (hasattr(built, "astream") or inspect.iscoroutinefunction(built) or inspect.isasyncgenfunction(built)):
        raise SluiceError(
            f"config/project.yaml: application: {name!r} gave {type(built).__name__}, which is not a Runnable",
            remedy="return a chain, a graph or an async function, as src/assistant/app.py does",
        )
    return built


def start_answer(application: Application, asked: dict[str, Any]) -> AsyncGenerator[Any, None]:
    """Start the application. It may give nothing; the engine then sends the decline text. `asked` has `messages`,
    `question` (the last of a user) and `refused` (why a guard refused the attempt before)."""
    given: Any = _unwrapped(application)
    if hasattr(given, "stream_mode"):  # a graph of LangGraph, whose messages come as they are written
        stream = given.astream(asked, stream_mode="messages")
    else:
        stream = given.astream(asked) if hasattr(given, "astream") else given(asked)
    return stream if hasattr(stream, "aclose") else _only(stream)


async def _only(answer: Awaitable[Any]) -> AsyncGenerator[Any, None]:
    yield await answer


def _unwrapped(application: Application) -> Any:
    """Return the generator in a RunnableLambda if no callback listens: LangChain makes a task for each piece."""
    function = getattr(application, "afunc", None)
    alone = inspect.isasyncgenfunction(function) and _takes_only_the_question(function)
    return function if alone and type(application) is RunnableLambda and not heard() else application


@cache
def _takes_only_the_question(function: Any) -> bool:
    return len(inspect.signature(function).parameters) == 1  # not LangChain's config beside it


def text_of(piece: Any) -> str | None:
    """Return the text of a string, a message, a message with metadata, or a state; None if it isn't the model's."""
    if isinstance(piece, tuple):
        piece = piece[0]
    if isinstance(piece, Mapping):
        piece = piece["messages"][-1]
    if isinstance(piece, str):
        return piece
    return str(piece.text) if piece.type in ("ai", "AIMessageChunk") else None
