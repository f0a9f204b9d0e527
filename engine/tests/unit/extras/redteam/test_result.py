"""Figures of attempts."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sluice.extras.redteam.attack import Attack, ServiceReply
from sluice.extras.redteam.result import FamilyResult, families, figures
from sluice.extras.redteam.suites import user
from sluice.extras.redteam.target import AttackAttempt, TargetKind


def attempts(family: str, total: int, *, got: int = 0, errors: int = 0) -> list[AttackAttempt]:
    made = []
    for number in range(total):
        attack = Attack(f"{family}-{number}", family, (user("?"),), lambda _: "")
        reply = None if number < errors else ServiceReply("no")
        won = "it" if errors <= number < errors + got else ""
        made.append(AttackAttempt(attack, reply, won, "" if reply else "status 500"))
    return made


def measured(sides: Mapping[TargetKind, list[AttackAttempt]], *names: str) -> list[FamilyResult]:
    return families(sides, names)


def test_the_worst_family_is_the_figure_with_the_fewest_samples() -> None:
    sides: dict[TargetKind, list[AttackAttempt]] = {
        "complying": attempts("a", 300) + attempts("b", 256, got=64),
        "unguarded": attempts("a", 300, got=300) + attempts("b", 256, got=128),
        "released": attempts("a", 10) + attempts("b", 10, got=1),
    }
    found = figures(measured(sides, "a", "b"))
    assert (found["attack_success"].value, found["attack_success"].samples) == (0.25, 256)
    assert found["attack_success"].cases[0] == "b-0"
    assert found["attack_success_upper"].value == pytest.approx(0.3065, abs=1e-3)
    assert found["attack_success_unguarded"].value == 0.5
    assert (found["attack_success_released"].value, found["attack_success_released"].samples) == (0.05, 20)


def test_a_family_that_was_not_tried_leaves_no_figure() -> None:
    found = figures(measured({"complying": attempts("a", 300)}, "a", "b"))
    assert (found["attack_success"].value, found["attack_success"].samples) == (None, 0)


def test_attempts_without_an_answer_are_errors_of_the_figure() -> None:
    found = figures(measured({"complying": attempts("a", 300, errors=3)}, "a"))
    assert (found["attack_success"].errors, found["attack_success"].samples) == (3, 297)


def test_tenants_and_documents_have_figures_of_their_own() -> None:
    tried = attempts("cross_tenant", 1000, got=1) + attempts("direct_injection", 100, got=10)
    tried += attempts("indirect_injection", 100, got=14)
    found = figures(measured({"complying": tried}, "cross_tenant", "direct_injection", "indirect_injection"))
    assert (found["cross_tenant_hits"].value, found["cross_tenant_hits"].samples) == (1.0, 1000)
    assert found["indirect_over_direct"].value == pytest.approx(0.04)
