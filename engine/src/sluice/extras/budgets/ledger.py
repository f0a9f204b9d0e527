"""What was used of each budget today, in PostgreSQL: the same for all replicas.

A request charges its reservation before it is answered, and the difference to what it took afterwards. Both are one
statement, which locks the rows of all its budgets in the order of their names, so that none waits for another in a
circle. A budget takes requests until it is used up, reservations counted: it is exceeded by less than one of them. A
request that a crash cut off stays charged with its reservation: its provider may have been paid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.extras.budgets import migrations
from sluice.extras.budgets.settings import DailyLimits, Reservation

if TYPE_CHECKING:
    import psycopg

    from sluice.retrieval.postgres_connections import BoundedPool

MIGRATIONS = Path(migrations.__file__).parent
UNITS = ("requests", "tokens", "dollars")
_ROWS = """
INSERT INTO sluice_budgets (day, budget) SELECT %(day)s, unnest(%(budgets)s::text[]) ON CONFLICT DO NOTHING
"""
_CHARGE = """
WITH limits AS (
    SELECT * FROM unnest(%(budgets)s::text[], %(most_requests)s::bigint[], %(most_tokens)s::bigint[],
                         %(most_dollars)s::float8[]) AS one (budget, most_requests, most_tokens, most_dollars)
), held AS MATERIALIZED (
    SELECT budget, requests, tokens, dollars FROM sluice_budgets
    WHERE day = %(day)s AND budget = ANY(%(budgets)s) ORDER BY budget FOR UPDATE
), over AS MATERIALIZED (
    SELECT budget, CASE WHEN requests >= most_requests THEN 'requests' WHEN tokens >= most_tokens THEN 'tokens'
                        WHEN dollars >= most_dollars THEN 'dollars' END AS unit
    FROM held JOIN limits USING (budget)
), charged AS (
    UPDATE sluice_budgets b
    SET requests = b.requests + %(requests)s, tokens = b.tokens + %(tokens)s, dollars = b.dollars + %(dollars)s
    FROM held WHERE b.day = %(day)s AND b.budget = held.budget
    AND NOT EXISTS (SELECT FROM over WHERE unit IS NOT NULL)
    AND (SELECT count(*) FROM held) = cardinality(%(budgets)s::text[])
    RETURNING b.budget, b.requests, b.tokens, b.dollars
)
SELECT budget, unit, charged.requests, charged.tokens, charged.dollars FROM over LEFT JOIN charged USING (budget)
"""


@dataclass(frozen=True)
class Charge:
    """`over`: the budget and the unit that are used up, or None; `used`: of each budget after the charge."""

    over: tuple[str, str] | None
    used: Mapping[str, tuple[int, int, float]]


def configure(connection: psycopg.Connection[Any]) -> None:
    """Prepares a connection. A crash of the server may forget the charges of its last half second; waiting for the disk
    would cost every request some milliseconds."""
    connection.execute("SET synchronous_commit = off")


def today() -> date:
    return datetime.now(UTC).date()


def next_day(day: date) -> datetime:
    """When a budget begins anew."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


class BudgetLedger:
    """Safe for many threads, and for many processes with one database. Its calls block."""

    def __init__(self, pool: BoundedPool) -> None:
        self._pool = pool

    def reserve(self, day: date, budgets: Mapping[str, DailyLimits], most: Reservation) -> Charge:
        """Charges a request to all of its budgets, or to none where one is used up.

        Args:
            day: the request's.
            budgets: their limits, by name.
            most: what it takes at most.

        Raises:
            RetrievalError: PostgreSQL did not answer in time.
        """
        return self._charge(day, budgets, 1, most.tokens, most.dollars)

    def settle(self, day: date, budgets: Mapping[str, DailyLimits], tokens: int, dollars: float) -> None:
        """Charges the difference between what a request took and its reservation. Arguments and error as of
        `reserve`."""
        self._charge(day, dict.fromkeys(budgets, DailyLimits()), 0, tokens, dollars)

    def _charge(
        self, day: date, budgets: Mapping[str, DailyLimits], requests: int, tokens: int, dollars: float
    ) -> Charge:
        names = sorted(budgets)
        values: dict[str, Any] = {"day": day, "budgets": names, "tokens": tokens, "dollars": dollars}
        values["requests"] = requests
        values |= {f"most_{unit}": [getattr(budgets[name], unit) for name in names] for unit in UNITS}
        with self._pool.connection() as connection:
            rows = connection.execute(_CHARGE, values, prepare=True).fetchall()
            if len(rows) < len(names):  # the first request of the day
                connection.execute(_ROWS, values)
                rows = connection.execute(_CHARGE, values, prepare=True).fetchall()
        over = next(((str(name), str(unit)) for name, unit, *_ in rows if unit), None)
        return Charge(over, {} if over else {name: tuple(used) for name, _, *used in rows})
