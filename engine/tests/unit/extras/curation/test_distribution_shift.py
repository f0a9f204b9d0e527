"""Whether two distributions differ: known figures, and that sameness is not called a shift."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.curation.distribution_shift import (
    OTHER,
    DistributionShift,
    ShiftPolicy,
    load_shift_policy,
    of_categories,
    of_numbers,
    psi,
)

POLICY = ShiftPolicy(p_value=0.01, psi=0.2, min_samples=50)


def shift(found: DistributionShift | None) -> DistributionShift:
    assert found is not None
    return found


def test_psi_is_the_formula_and_symmetric() -> None:
    # Halves against three quarters to one quarter, with half a case more in each of two bins.
    low, high = 25.5 / 101, 75.5 / 101
    expected = (low - 0.5) * math.log(low / 0.5) + (high - 0.5) * math.log(high / 0.5)
    assert psi([50, 50], [25, 75]) == pytest.approx(expected)
    assert psi([25, 75], [50, 50]) == pytest.approx(expected)
    assert psi([7, 3], [7, 3]) == 0
    assert math.isfinite(psi([100, 0], [0, 100]))


def test_numbers_from_one_source_are_steady_and_longer_ones_have_shifted() -> None:
    rng = random.Random(3)
    base, same, longer = ([rng.gauss(mean, 3) for _ in range(300)] for mean in (12, 12, 16))
    assert shift(of_numbers("n", base, same)).verdict(POLICY) == "steady"
    found = shift(of_numbers("n", base, longer))
    assert found.verdict(POLICY) == "shifted"
    assert (found.base, found.head) == (pytest.approx(12, abs=0.6), pytest.approx(16, abs=0.6))
    assert sum(share for _, share, _ in found.bins) == pytest.approx(1)
    assert sum(share for _, _, share in found.bins) == pytest.approx(1)


def test_a_base_of_one_value_still_tells_another() -> None:
    assert shift(of_numbers("n", [3.0] * 60, [3.0] * 60)).verdict(POLICY) == "steady"
    assert shift(of_numbers("n", [3.0] * 60, [4.0] * 60)).verdict(POLICY) == "shifted"


def test_categories_move_together_when_they_are_rare() -> None:
    base = {"a": 60, "b": 40} | {f"rare{n}": 1 for n in range(10)}
    head = {"a": 58, "b": 42} | {f"other{n}": 1 for n in range(10)}
    found = shift(of_categories("tags", base, head))
    assert [label for label, _, _ in found.bins] == ["a", "b", OTHER]
    assert found.verdict(POLICY) == "steady"
    assert shift(of_categories("tags", {"a": 60, "b": 40}, {"a": 20, "b": 80})).verdict(POLICY) == "shifted"
    assert shift(of_categories("tags", {"a": 60}, {"a": 80})).verdict(POLICY) == "steady"


def test_few_or_none_are_not_called_either() -> None:
    assert shift(of_numbers("n", [1.0] * 49, [9.0] * 500)).verdict(POLICY) == "too few"
    assert of_numbers("n", [], [1.0]) is None
    assert of_categories("n", {"a": 1}, {}) is None


def test_a_difference_that_is_sure_but_small_is_steady() -> None:
    found = shift(of_categories("k", {"a": 50_000, "b": 50_000}, {"a": 49_000, "b": 51_000}))
    assert found.p < 0.01
    assert found.verdict(POLICY) == "steady"


def test_the_numbers_that_decide_are_those_of_the_gates(tmp_path: Path) -> None:
    ours = load_shift_policy(Path(__file__).parents[5] / "config" / "gates.yaml")
    assert ours == POLICY
    (tmp_path / "gates.yaml").write_text("gates: []\n")
    with pytest.raises(SluiceError, match="drift: Field required"):
        load_shift_policy(tmp_path / "gates.yaml")
