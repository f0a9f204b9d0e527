"""The agent of a release, as `Services.agent` asks for it, and of a case of the evaluation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from sluice.core.errors import SluiceError
from sluice.extras.tools.expected_calls import expected_calls
from sluice.extras.tools.settings import FILE, KEPT, load_tools

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import Runnable

    from sluice.data.rows import Row
    from sluice.serving.services import Services


def make_agent(services: Services, model: BaseChatModel) -> Runnable[Any, Any] | None:
    found = load_tools(services.bundle.config)
    if found is None:
        return None
    file, lock = found
    local = services.bundle.providers.chat[0].kind == "local"
    if not lock or file.use == "never" or (file.use == "hosted" and local):
        return None
    from langchain_core.runnables import RunnableLambda

    from sluice.extras.tools.agent import ToolAgent

    database, variable = "", file.approvals.database_env
    if variable and not (database := os.environ.get(variable, "")):
        raise SluiceError(
            f"config/{FILE}: approvals.database_env: the variable {variable} is not set",
            remedy="set it to the address of a PostgreSQL database, or leave database_env empty",
        )
    agent = services.kept[KEPT] = ToolAgent(services, model, file, lock, database)
    return RunnableLambda(agent.answer)


@contextmanager
def evaluated_case(row: Row, services: Services) -> Iterator[None]:
    """Give the functions a world of their own for one row, which decides about calls that wait."""
    agent, wanted = services.kept.get(KEPT), expected_calls(row)
    if agent is None:
        yield
        return
    from sluice.extras.tools.agent import CASE, CaseOfEvaluation

    world = agent.scratch()
    if world is None and wanted and (wanted.world or wanted.approve is not None):
        message = f"row {row.id!r}: expect.tools wants a world of its own, and config/tools.yaml names none"
        raise SluiceError(message, remedy="name a context manager beside the functions: `world: scratch`")
    with ExitStack() as around:
        if world is not None:
            around.enter_context(world)
        after = wanted.world if wanted and world is not None else ()
        token = CASE.set(CaseOfEvaluation(wanted.approve if wanted else None, after))
        try:
            yield
        finally:
            CASE.reset(token)
