"""A case of the evaluation around the tools. A module of its own: the check of the data needs the rows' words alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from sluice.core.errors import SluiceError
from sluice.extras.tools.expected_calls import expected_calls
from sluice.extras.tools.settings import KEPT

if TYPE_CHECKING:
    from sluice.data.rows import Row
    from sluice.serving.services import Services


@contextmanager
def evaluated_case(row: Row, services: Services) -> Iterator[None]:
    """A case of the evaluation: functions act on a world of their own, and the row decides about what would wait."""
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
