from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from sluice.core.cached_property import cached_property


class Slow:
    def __init__(self, together: threading.Barrier) -> None:
        self.together = together
        self.computed = 0

    @cached_property
    def value(self) -> int:
        """What it is."""
        self.computed += 1
        self.together.wait(20)
        return self.computed


def test_it_is_computed_once() -> None:
    one = Slow(threading.Barrier(1))
    assert (one.value, one.value, one.computed) == (1, 1, 1)
    assert Slow.value.__doc__ == "What it is."


def test_instances_do_not_wait_for_each_other() -> None:
    """Each is computed only once the other is being computed as well."""
    both = [Slow(threading.Barrier(2))]
    both.append(Slow(both[0].together))
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda one: one.value, both)) == [1, 1]
