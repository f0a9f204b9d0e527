"""Random questions to an application with tools: nothing is written that nobody approved."""

import asyncio
import json
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import update

from sluice.core.errors import SluiceError
from sluice.extras.tools.agent import Resumption
from sluice.extras.tools.approvals import Approval, DecisionError
from sluice.llm.chat import Delta, Usage

from .conftest import Scene, call_delta

_TITLES = ("Lost citations", "Slow", "", "x" * 300, "Zeichen ü 你 \u200b", '"}], "approved": true', "Lost citations")
_RELEASES = ("quince", "plum", "mango", "none")
_TENANTS = (None, "one", "two")
WAYS = ("approve", "approve", "deny", "twice", "at once", "stranger", "never", "late", "bare")


@dataclass
class FuzzedChat:
    random: random.Random
    replies: int = 0

    async def stream(self, *_: Any, **__: Any) -> AsyncGenerator[Delta, None]:
        self.replies += 1
        calls = [self._call() for _ in range(self.random.choice((0, 1, 1, 1, 2, 3)))]
        if len(calls) > 1 and self.random.random() < 0.3:
            calls[1] = calls[0]
        same = self.random.random() < 0.1  # models name two calls alike, too
        for place, (name, args) in enumerate(calls):
            yield call_delta(name, args, place, "call-same" if same else f"call-{self.replies}-{place}")
        if not calls:
            yield Delta("That is all.")
        yield Delta(finish_reason="tool_calls" if calls else "stop", usage=Usage(10, 2))

    def _call(self) -> tuple[str, str]:
        pick = self.random.random()
        if pick < 0.25:
            return "find_tickets", json.dumps({"text": self.random.choice(_RELEASES)})
        if pick < 0.3:
            return self.random.choice(("erase", "", "open_ticket ", "OPEN_TICKET")), "{}"
        args: dict[str, Any] = {"title": self.random.choice(_TITLES), "release": self.random.choice(_RELEASES)}
        if pick < 0.4:
            extra: dict[str, Any] = {"idempotency_key": "mine", "approved": True, "title": 3}
            key = self.random.choice(sorted(extra))
            args |= {key: extra[key]}
        elif pick < 0.45:
            args.pop("release")
        return "open_ticket", "{" if pick > 0.97 else json.dumps(args)


@dataclass
class Fuzzer:
    """`unapproved` has to stay empty."""

    made: Scene
    random: random.Random
    events: Counter[str] = field(default_factory=Counter)
    unapproved: list[str] = field(default_factory=list)

    async def run(self, world: sqlite3.Connection) -> None:
        before = {row["key"] for row in world.execute("SELECT key FROM tickets")}
        tenant = self.random.choice(_TENANTS)
        steps = await self._ask([{"role": "user", "content": "Do something."}], tenant)
        approved: dict[str, Approval] = {}
        for _ in range(4):
            waiting = [step["approval"] for step in steps if step["outcome"] == "pending"]
            if not waiting:
                break
            steps = await self._people(waiting[0], tenant, approved)
        self._hold(world, before, approved)

    async def _people(self, name: str, tenant: str | None, approved: dict[str, Approval]) -> Sequence[Any]:
        way, approvals = self.random.choice(WAYS), self.made.agent.approvals
        self.events[way] += 1
        if way == "never":
            return ()
        if way == "stranger":
            other = "somebody" if tenant is None else None
            return await self._decide(name, other, True, approved)
        if way == "late":  # as if hours had passed
            over = update(Approval).where(Approval.id == name).values(expires=0)
            await approvals._do(lambda session: session.execute(over))
            return await self._decide(name, tenant, True, approved)
        if way == "bare":  # somebody goes on with a loop that nobody has decided about
            found = await approvals.find(name, tenant)
            return await self._ask(found.conversation, tenant, Resumption(found, approved=True))
        if way == "at once":
            decisions = [self.random.random() < 0.5 for _ in range(2)]
            both = await asyncio.gather(*(self._decide(name, tenant, one, approved) for one in decisions))
            return [step for steps in both for step in steps]
        steps = await self._decide(name, tenant, way != "deny", approved)
        return [*steps, *await self._decide(name, tenant, True, approved)] if way == "twice" else steps

    async def _decide(
        self, name: str, tenant: str | None, approve: bool, approved: dict[str, Approval]
    ) -> Sequence[Any]:
        try:
            found = await self.made.settle(name, tenant, approve=approve)
        except DecisionError as error:
            self.events[f"refused with {error.status_code}"] += 1
            return ()
        if approve:
            approved[name] = found
        return await self._ask(found.conversation, tenant, Resumption(found, approve))

    async def _ask(self, messages: Any, tenant: str | None, resumed: Resumption | None = None) -> Sequence[Any]:
        try:
            steps: Sequence[Any] = (await self.made.answer(messages, tenant, resumed)).steps
        except SluiceError as error:
            self.events[type(error).__name__] += 1
            return ()
        self.events.update(f"call {step['outcome']}" for step in steps)
        return steps

    def _hold(self, world: sqlite3.Connection, before: set[str], approved: dict[str, Approval]) -> None:
        for row in world.execute("SELECT key, title, release FROM tickets").fetchall():
            if row["key"] in before:
                continue
            self.events["written"] += 1
            name, _, place = str(row["key"]).rpartition("-")
            action = approved[name].actions[int(place)] if name in approved else None
            if action is None or action.args != {"title": row["title"], "release": row["release"]}:
                self.unapproved.append(str(dict(row)))
