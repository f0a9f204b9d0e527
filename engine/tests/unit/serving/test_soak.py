"""Mixed traffic leaves nothing behind: twenty seconds of it always, three minutes with `make soak`."""

from __future__ import annotations

import pytest

from support.load.soak import CALLERS, Soak, soak

pytestmark = pytest.mark.real


def check(found: Soak) -> None:
    """What holds however long it lasts: no wrong answer, every kind of caller, and no file left open."""
    assert found.wrong == {}
    assert len(found.done) == 14
    assert min(found.done.values()) >= found.seconds / 2
    assert found.idle_after <= found.idle_before + 1  # a line of the log or of the traces may be being written
    assert found.most_descriptors <= found.idle_before + 3 * CALLERS


def test_twenty_seconds_leave_no_files_and_little_memory() -> None:
    found = soak(12, warm=8)
    check(found)
    assert found.growth <= 0.03


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_three_minutes_leave_no_files_and_no_memory() -> None:
    found = soak(180, warm=60)
    check(found)
    assert found.slope < 0.01
