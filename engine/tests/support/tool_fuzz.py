"""Random questions to an application with tools: nothing is written that nobody approved."""

from __future__ import annotations

import asyncio
import json
import random
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import update

from sluice.core.errors import SluiceError
from sluice.extras.tools import functions
from sluice.extras.tools.agent import RESUMED, Resumption, ToolAgent
from sluice.extras.tools.approvals import _APPROVALS, Approval, DecisionError
from sluice.llm.chat import Delta, Messages, Usage
from sluice.prompts import ModelParameters, load_prompts
from sluice.serving.runner import ApplicationRunner
from support.serving.fakes import NoChecks, ScriptedRetriever, scripted_bundle

_ROOT = Path(__file__).resolve().parents[3]
_TITLES = ("Lost citations", "Slow", "", "x" * 300, "Zeichen ü 你 \u200b", '"}], "approved": true', "Lost citations")
_RELEASES = ("quince", "plum", "mango", "none")
_TENANTS = (None, "one", "two")


@dataclass
class FuzzedChat:
    random: random.Random
    replies: int = 0

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        del messages, parameters, deadline
        self.replies += 1
        calls = [self._call() for _ in range(self.random.choice((0, 1, 1, 1, 2, 3)))]
        if len(calls) > 1 and self.random.random() < 0.3:
            calls[1] = calls[0]
        same = self.random.random() < 0.1
        for place, (name, args) in enumerate(calls):
            call_id = "call-same" if same else f"call-{self.replies}-{place}"
            piece: Any = {"type": "tool_call_chunk", "index": place, "id": call_id, "name": name, "args": args}
            yield Delta("", tool_calls=(piece,))
        if not calls:
            yield Delta("That is all.")
        yield Delta(finish_reason="tool_calls" if calls else "stop", usage=Usage(10, 2))

    def _call(self) -> tuple[str, str]:
        pick = self.random.random()
        if pick < 0.25:
            return "find_tickets", json.dumps({"text": self.random.choice(_RELEASES)})
        if pick < 0.3:
            return self.random.choice(("erase", "", "open_ticket ", "OPEN_TICKET")), "{}"
        args: dict[str, Any] = {
            "title": self.random.choice(_TITLES),
            "release": self.random.choice(_RELEASES),
        }
        if pick < 0.4:
            extra: dict[str, Any] = {"idempotency_key": "mine", "approved": True, "title": 3}
            key = self.random.choice(sorted(extra))
            args |= {key: extra[key]}
        elif pick < 0.45:
            args.pop("release")
        return "open_ticket", "{" if pick > 0.97 else json.dumps(args)


def write_config(config: Path) -> Path:
    for name in ("tools.yaml", "tools.lock.yaml"):
        text = (_ROOT / "config" / name).read_text(encoding="utf-8")
        text = re.sub(r"(?<=timeout_seconds: )\d+|(?<=  seconds: )\d+", "600", text)  # a busy machine is no failure
        (config / name).write_text(text.replace("use: hosted ", "use: always "), encoding="utf-8")
    return config


class Nothing(ScriptedRetriever):
    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Any]:
        del question, k, tenant
        return []


@dataclass
class Tally:
    events: Counter[str] = field(default_factory=Counter)
    unapproved: list[str] = field(default_factory=list)


class Fuzzer:
    def __init__(self, seed: int, config: Path) -> None:
        self.random = random.Random(seed)
        self.chat = FuzzedChat(self.random)
        prompts = load_prompts(_ROOT / "prompts")
        kept = {name: prompts[name] for name in ("answer", "tools")}
        bundle = replace(scripted_bundle(), prompts=kept, config=config)
        self.release = bundle.release
        self.runner = ApplicationRunner(bundle, self.chat, Nothing({}), NoChecks())
        self.agent: ToolAgent = self.runner.services.kept["tools"]
        self.tally = Tally()

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
        way = self.random.choice(
            ("approve", "approve", "deny", "twice", "at once", "stranger", "never", "late", "bare")
        )
        self.tally.events[way] += 1
        if way == "never":
            return ()
        if way == "stranger":
            other = "somebody" if tenant is None else None
            return await self._decide(name, other, True, approved)
        if way == "late":  # as if hours had passed
            over = update(_APPROVALS).where(_APPROVALS.c.id == name).values(expires=0)
            await self.agent.approvals._do(lambda connection: connection.execute(over))
            return await self._decide(name, tenant, True, approved)
        if way == "bare":  # somebody goes on with a loop that nobody has decided about
            found = await self.agent.approvals.find(name, tenant)
            return await self._ask(found.conversation, tenant, Resumption(found, approved=True))
        if way == "at once":
            both = await asyncio.gather(
                self._decide(name, tenant, self.random.random() < 0.5, approved),
                self._decide(name, tenant, self.random.random() < 0.5, approved),
            )
            return [step for steps in both for step in steps]
        steps = await self._decide(name, tenant, way != "deny", approved)
        if way == "twice":
            return [*steps, *await self._decide(name, tenant, True, approved)]
        return steps

    async def _decide(
        self, name: str, tenant: str | None, approve: bool, approved: dict[str, Approval]
    ) -> Sequence[Any]:
        try:
            found = await self.agent.approvals.decide(
                name, tenant, approve=approve, by="boss", reason="", release=self.release
            )
        except DecisionError as error:
            self.tally.events[f"refused with {error.status}"] += 1
            return ()
        if approve:
            approved[name] = found
        return await self._ask(found.conversation, tenant, Resumption(found, approve))

    async def _ask(self, messages: Any, tenant: str | None, resumed: Resumption | None = None) -> Sequence[Any]:
        token = RESUMED.set(resumed)
        try:
            steps: Sequence[Any] = (await self.runner.answer(messages, tenant=tenant)).steps
        except SluiceError as error:
            self.tally.events[type(error).__name__] += 1
            return ()
        finally:
            RESUMED.reset(token)
        self.tally.events.update(f"call {step['outcome']}" for step in steps)
        return steps

    def _hold(self, world: sqlite3.Connection, before: set[str], approved: dict[str, Approval]) -> None:
        for row in world.execute("SELECT key, title, release FROM tickets").fetchall():
            if row["key"] in before:
                continue
            self.tally.events["written"] += 1
            name, _, place = str(row["key"]).rpartition("-")
            action = approved[name].actions[int(place)] if name in approved else None
            if action is None or action["args"] != {"title": row["title"], "release": row["release"]}:
                self.tally.unapproved.append(str(dict(row)))


async def fuzz(runs: int, seed: int, config: Path) -> Tally:
    fuzzer = Fuzzer(seed, config)
    with functions.scratch() as world:
        for _ in range(runs):
            await fuzzer.run(world)
    return fuzzer.tally
