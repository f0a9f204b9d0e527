"""An event loop for tests of time limits: what the machine does beside them takes none of its time."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
# The most that may pass from one look at the clock to the next: a process that is stopped for longer does not age.
STEP = 0.02


class PatientLoop(asyncio.SelectorEventLoop):
    """Its clock counts what the loop waits, at most `STEP` at a time, and stands still while `held` says so."""

    def __init__(self, held: Callable[[], bool]) -> None:
        self._held = held
        self._counted = self._looked = time.monotonic()
        super().__init__()
        selector: Any = self._selector  # type: ignore[attr-defined]
        select = selector.select
        selector.select = lambda timeout=None: select(STEP if timeout is None else min(timeout, STEP))

    def time(self) -> float:
        now = time.monotonic()
        if not self._held():
            self._counted += min(now - self._looked, STEP)
        self._looked = now
        return self._counted


def run(work: Coroutine[Any, Any, T], *, held: Callable[[], bool] = lambda: False) -> T:
    """`asyncio.run` by the clock of a patient loop."""
    with asyncio.Runner(loop_factory=lambda: PatientLoop(held)) as runner:
        return runner.run(work)
