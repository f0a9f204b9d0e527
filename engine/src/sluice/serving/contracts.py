"""What an application is, and what it is built on. The engine runs any application of this form.

`config/project.yaml` names its builder: `application: assistant.app:build`. Around it the engine puts what no
application may skip: keys, limits, the guards of questions, passages and answers, deadlines, traces and citations.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest

if TYPE_CHECKING:
    from sluice.guardrails.guards import GuardOutcome
    from sluice.llm.chat import Delta
    from sluice.retrieval import Hit
    from sluice.serving.request_state import RequestState
    from sluice.serving.services import Services


class Application(Protocol):
    """Answers questions; one instance answers many at the same time, so what belongs to one is in its request."""

    def stream(self, request: RequestState) -> AsyncGenerator[Delta, None]:
        """The answer in pieces as they come; the last says how it ended and what it used (a model's own does).

        No piece at all means that there is nothing to answer with: the engine then sends the decline text. When a guard
        refuses the answer before anything was sent, the engine asks once more, with `request.refused` set.
        """
        ...


Build: TypeAlias = "Callable[[Services], Application]"


class Search(Protocol):
    """Retrieval as the engine needs it; called in a thread."""

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        """The passages that are nearest to a question.

        Args:
            question: what is asked.
            k: how many passages at most.
            tenant: whose documents are searched beside those for everybody.

        Returns:
            The passages, best first.
        """
        ...


class Checks(Protocol):
    """The guards as the engine needs them."""

    async def check_input(self, text: str) -> GuardOutcome: ...

    async def check_passage(self, text: str) -> GuardOutcome: ...

    async def check_output(self, text: str) -> GuardOutcome: ...


def load_build(name: str) -> Build:
    """The builder of an application.

    Args:
        name: `module:function`, as `application` of config/project.yaml has it.

    Raises:
        SluiceError: there is no such function, or its module cannot be imported.
    """
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
        raise SluiceError(f"{place}: {module} needs a package that is not installed: {error.name}") from error
    except Exception as error:
        raise SluiceError(f"{place}: {module} cannot be imported: {type(error).__name__}: {error}") from error
    build = getattr(found, function, None)
    if not callable(build):
        known = [one for one in vars(found) if callable(getattr(found, one)) and not one.startswith("_")]
        raise SluiceError(f"{place}: {module} has no function {function!r}{nearest(function, known)}", remedy=remedy)
    made: Build = build
    return made
