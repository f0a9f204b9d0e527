from __future__ import annotations

from sluice.llm.retry_delay import pause


def test_pauses_grow_and_are_drawn_by_chance() -> None:
    for attempt, longest in enumerate((0.1, 0.2, 0.4, 0.8)):
        drawn = {pause(attempt, None) for _ in range(50)}
        assert len(drawn) > 40
        assert min(drawn) >= longest / 2
        assert max(drawn) <= longest


def test_no_pause_is_longer_than_five_seconds() -> None:
    assert max(pause(attempt, None) for attempt in range(60)) <= 5


def test_what_the_provider_asks_for_is_the_least() -> None:
    assert all(3 <= pause(0, 3) <= 3.1 for _ in range(50))
    assert pause(5, 0) >= 1.6
