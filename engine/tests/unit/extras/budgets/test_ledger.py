"""Budgets in a real PostgreSQL, charged by many writers of several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from sluice.extras.budgets.ledger import BudgetLedger, Charge, configure, next_day
from sluice.extras.budgets.settings import DailyLimits, Reservation
from sluice.retrieval.store_schema import open_tables
from sluice.retrieval.stores import EMBEDDED
from support.retrieval.additive_migrations import not_expanding

pytestmark = pytest.mark.real
ENGINE = Path(__file__).parents[4]
NOTHING = Reservation()
# 16 writers of one process: each asks for 40 requests; half of what is taken is settled with less, half with more.
WRITERS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from sluice.extras.budgets.ledger import BudgetLedger, configure
from sluice.extras.budgets.settings import DailyLimits, Reservation
from sluice.retrieval.store_schema import open_tables
from sluice.retrieval.stores import Stores

state, day, seed = Path(sys.argv[1]), date.fromisoformat(sys.argv[2]), int(sys.argv[3])
most = Reservation(tokens=100, dollars=0.01)
limits = {"everybody": DailyLimits(tokens=20_000), "key a": DailyLimits(requests=150)}
limits["key b"] = DailyLimits(dollars=0.5)

def work(number, turns):
    taken = 0
    for turn in turns:
        mine = {name: limits[name] for name in ("everybody", "key a" if (number + turn) % 2 else "key b")}
        if ledger.reserve(day, mine, most).over is None:
            taken += 1
            used = (number * 7 + turn * 13 + seed) % 101  # 0 to 100, as its reservation allows
            ledger.settle(day, mine, used - 100, used / 10_000 - 0.01)
    return taken

store = {"kind": "embedded", "timeout_seconds": 600}  # on a machine that has much else to do
with open_tables(Stores(default="local", stores={"local": store}), state, "budgets", configure) as pool:
    ledger = BudgetLedger(pool)
    with ThreadPoolExecutor(16) as threads:
        taken = 0
        for turns, said in ((range(2), "ready"), (range(2, 40), "begun")):
            print(said, flush=True)
            sys.stdin.readline()
            taken += sum(threads.map(work, range(16), [turns] * 16))
        print(taken)
"""


@pytest.fixture
def ledger(state: Path) -> Iterator[BudgetLedger]:
    with open_tables(EMBEDDED, state, "budgets", configure) as pool:
        yield BudgetLedger(pool)


def used(ledger: BudgetLedger, day: date, name: str) -> tuple[int, int, float]:
    """By a charge of nothing."""
    return ledger._charge(day, {name: DailyLimits()}, 0, 0, 0).used[name]


def test_two_replicas_with_32_writers_exceed_no_budget_by_more_than_one_request(
    ledger: BudgetLedger, state: Path
) -> None:
    day = date(2026, 1, 1)
    env = {**os.environ, "PYTHONPATH": str(ENGINE / "src")}
    argv = [sys.executable, "-c", WRITERS, str(state), str(day)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    replicas = [subprocess.Popen([*argv, str(seed)], env=env, **pipes) for seed in (1, 2)]  # type: ignore[call-overload]
    for said in ("ready", "begun"):  # each has its first requests before either uses the budgets up
        for replica in replicas:
            assert replica.stdout.readline() == f"{said}\n"
        for replica in replicas:
            replica.stdin.write("go\n")
            replica.stdin.flush()
    taken = [int(replica.communicate()[0]) for replica in replicas]
    assert [replica.returncode for replica in replicas] == [0, 0]
    assert min(taken) > 0

    everybody, a, b = (used(ledger, day, name) for name in ("everybody", "key a", "key b"))
    assert everybody[0] == a[0] + b[0] == sum(taken)  # each was charged to both of its budgets or to none
    assert everybody[1] == a[1] + b[1]
    assert a[0] == 150  # exactly: a request is one request
    assert 0.5 <= b[2] < 0.5 + 0.01
    assert everybody[1] < 20_000 + 100
    # Used up, and not a request earlier.
    assert ledger.reserve(day, {"key a": DailyLimits(requests=150)}, NOTHING).over == ("key a", "requests")
    assert ledger.reserve(day, {"key b": DailyLimits(dollars=0.5)}, NOTHING).over == ("key b", "dollars")


def test_one_used_up_budget_leaves_the_others_as_they_are(ledger: BudgetLedger) -> None:
    day = date(2026, 1, 2)
    mine = {"key a": DailyLimits(requests=5), "tenant t": DailyLimits(requests=2)}
    with ThreadPoolExecutor(32) as threads:
        charges = list(threads.map(lambda _: ledger.reserve(day, mine, NOTHING), range(64)))
    assert sum(charge.over is None for charge in charges) == 2
    assert {charge.over for charge in charges} == {None, ("tenant t", "requests")}
    assert used(ledger, day, "key a") == used(ledger, day, "tenant t") == (2, 0, 0.0)


def test_what_is_being_answered_is_reserved(ledger: BudgetLedger) -> None:
    day, mine, most = date(2026, 1, 3), {"key a": DailyLimits(tokens=250)}, Reservation(tokens=100)
    charges = [ledger.reserve(day, mine, most) for _ in range(4)]
    assert charges[2] == Charge(None, {"key a": (3, 300, 0.0)})
    assert charges[3] == Charge(("key a", "tokens"), {})
    ledger.settle(day, mine, 10 - most.tokens, 0)
    assert ledger.reserve(day, mine, most).over is None


def test_a_day_begins_anew(ledger: BudgetLedger) -> None:
    mine = {"key a": DailyLimits(requests=1)}
    assert [ledger.reserve(date(2026, 1, day), mine, NOTHING).over is None for day in (4, 4, 5)] == [True, False, True]
    assert next_day(date(2026, 12, 31)) == datetime(2027, 1, 1, tzinfo=UTC)


def test_its_migrations_only_add() -> None:
    from sluice.extras.budgets.migrations.versions.v0001_budgets import upgrade

    assert not_expanding(upgrade) == []
