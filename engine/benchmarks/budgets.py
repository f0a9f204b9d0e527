"""What budgets add to a request, with three of them for each: of its key, its tenant, and all together.

    .venv/bin/python engine/benchmarks/budgets.py [REQUESTS]

An embedded PostgreSQL is started in a temporary folder. The time before the API sees a request is what a caller waits
for; the charge after the answer is out is shown beside it. Prints a table in Markdown: milliseconds, one request at a
time, and 32 writers of two pools as two replicas have them.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sluice.extras.budgets.ledger import BudgetLedger, configure, today
from sluice.extras.budgets.middleware import BudgetMiddleware
from sluice.extras.budgets.settings import BudgetSettings, DailyLimits, Reservation
from sluice.retrieval.store_schema import open_tables
from sluice.retrieval.stores import EMBEDDED
from sluice.serving.auth import Caller
from sluice.serving.service_metrics import ServiceMetrics

LIMITS = DailyLimits(requests=10**9, tokens=10**12, dollars=10**6)
SETTINGS = BudgetSettings(
    reserve=Reservation(tokens=4096, dollars=0.05), everybody=LIMITS, each_key=LIMITS, each_tenant=LIMITS
)
SCOPE: dict[str, Any] = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}


async def through_middleware(ledger: BudgetLedger, count: int) -> tuple[list[float], list[float]]:
    """Seconds until the API has each request, and from its answer to the end of the charge."""
    seen: list[float] = []

    async def api(*_: Any) -> None:
        seen.append(time.perf_counter())

    app = BudgetMiddleware(api, SETTINGS, ledger, ServiceMetrics("r-0123456789ab", lambda: 0))
    scope = SCOPE | {"sluice.caller": Caller("one", "acme")}
    before, after = [], []
    for number in range(count):
        started = time.perf_counter()
        await app(scope, None, None)  # type: ignore[arg-type]
        after.append(time.perf_counter() - seen[number])
        before.append(seen[number] - started)
    return before, after


def by_writers(ledgers: Sequence[BudgetLedger], count: int) -> list[float]:
    """Seconds of each reservation while 32 threads write."""
    budgets, day = SETTINGS.of("one", "acme"), today()

    def write(number: int) -> list[float]:
        ledger, times = ledgers[number % len(ledgers)], []
        for _ in range(count // 32):
            started = time.perf_counter()
            ledger.reserve(day, budgets, SETTINGS.reserve)
            times.append(time.perf_counter() - started)
            ledger.settle(day, budgets, -4000, -0.05)
        return times

    with ThreadPoolExecutor(32) as threads:
        return [one for times in threads.map(write, range(32)) for one in times]


def row(what: str, times: Sequence[float]) -> str:
    cuts = statistics.quantiles(times, n=100)
    return f"| {what} | {cuts[49] * 1000:.2f} | {cuts[94] * 1000:.2f} | {cuts[98] * 1000:.2f} |"


def main(count: int) -> None:
    root = Path(tempfile.mkdtemp(prefix="sl"))
    with ExitStack() as opened:
        opened.callback(shutil.rmtree, root, ignore_errors=True)
        pools = [opened.enter_context(open_tables(EMBEDDED, root / ".sluice", "budgets", configure)) for _ in range(2)]
        ledgers = [BudgetLedger(pool) for pool in pools]
        asyncio.run(through_middleware(ledgers[0], 200))  # connections, plans
        before, after = asyncio.run(through_middleware(ledgers[0], count))
        print("| milliseconds | p50 | p95 | p99 |\n|---|---|---|---|")
        print(row("before the answer, one request at a time", before))
        print(row("after the answer, one request at a time", after))
        print(row("a reservation, 32 writers of two replicas, the same three budgets", by_writers(ledgers, count)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
