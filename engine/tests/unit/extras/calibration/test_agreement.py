from __future__ import annotations

import random

import pytest

from sluice.extras.calibration.calibrate_judge import agreement


def test_counts_and_kappa_of_a_worked_example() -> None:
    """20 + 15 of 50 cases agree; people pass 25, the judge 30: by chance 0.5, so kappa is (0.7 - 0.5) / 0.5."""
    people = [True] * 25 + [False] * 25
    judge = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    found = agreement(people, judge)
    assert (found.passed_passed, found.passed_failed, found.failed_passed, found.failed_failed) == (20, 5, 10, 15)
    assert found.raw == pytest.approx(0.7)
    assert found.by_chance == pytest.approx(0.5)
    assert found.kappa == pytest.approx(0.4)
    low, high = found.kappa_interval
    assert low < 0.4 < high
    assert (low, high) == (pytest.approx(0.1249, abs=1e-3), pytest.approx(0.6181, abs=1e-3))


@pytest.mark.parametrize(
    ("people", "judge", "kappa"),
    [
        ([True, False, True, False], [True, False, True, False], 1.0),
        ([True, False, True, False], [False, True, False, True], -1.0),
        ([True, True, False, False], [True, False, True, False], 0.0),
        ([True, True, False, False], [True, True, True, True], 0.0),  # a judge that passes everything
        ([True, True], [True, True], None),
        ([], [], None),
    ],
)
def test_kappa_at_the_edges(people: list[bool], judge: list[bool], kappa: float | None) -> None:
    found = agreement(people, judge)
    assert found.kappa == (None if kappa is None else pytest.approx(kappa))
    if kappa is None:
        assert found.kappa_interval is None


def test_full_agreement_is_not_certain() -> None:
    low, high = agreement([True, False] * 20, [True, False] * 20).kappa_interval
    assert high == pytest.approx(1.0)
    assert 0.7 < low < 0.9


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        agreement([True], [])


@pytest.mark.parametrize(("people_pass", "right"), [(0.5, 0.9), (0.3, 0.75), (0.5, 0.6)])
def test_the_interval_holds_the_true_kappa_as_often_as_it_says(people_pass: float, right: float) -> None:
    """Judges that say what people say with the probability `right`, in 1000 sets of 50 cases each."""
    judged = people_pass * right + (1 - people_pass) * (1 - right)
    chance = people_pass * judged + (1 - people_pass) * (1 - judged)
    true = (right - chance) / (1 - chance)
    dice = random.Random(1)
    held = 0
    for _ in range(1000):
        people = [dice.random() < people_pass for _ in range(50)]
        found = agreement(people, [said if dice.random() < right else not said for said in people])
        low, high = found.kappa_interval
        held += low <= true <= high
    assert 0.92 < held / 1000 < 0.98
