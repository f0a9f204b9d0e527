"""Five times what a service can answer: it goes on answering, and turns the rest away without an error.

How much, how fast and within which memory depends on what else the machine does: `engine/benchmarks/overload.py`
measures these and has their limits.
"""

from __future__ import annotations

import pytest

from support.load.overload import measure

pytestmark = pytest.mark.real

# Seconds that no request takes where the machine runs: the service queues for half a second. In a process that is
# stopped for longer, more connections pile up than the system holds.
STOPPED = 3


def test_five_times_the_capacity_is_held_up() -> None:
    # Few answers, so that the processor is not what limits them.
    found = measure(4.0, before=3.0)
    if found.longest > STOPPED:
        found = measure(4.0, before=3.0)
    assert found.shed > found.capacity  # in four seconds: with five times the load, four fifths are turned away
    assert found.shed_without_retry_after == 0
    assert found.other == {}  # nothing but answers and refusals: no error, no broken connection
    assert found.probes > 0
    assert found.probes_failed == 0
    assert found.goodput > 0.2 * found.capacity  # it has not collapsed
    assert found.normal_after < 30  # and it recovers
