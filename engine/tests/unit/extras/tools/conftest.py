import asyncio
import itertools
import json
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from sluice.extras.tools import functions
from sluice.extras.tools.agent import RESUMED, Resumption, ToolAgent
from sluice.extras.tools.approvals import Approval
from sluice.guardrails.check import GuardOutcome
from sluice.llm.chat import Delta, Messages, Usage
from sluice.prompts import ModelParameters, load_prompts
from sluice.serving.answer import Answer
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runner import ApplicationRunner
from support.serving.fakes import NoChecks, scripted_bundle

Call = tuple[str, dict[str, Any]]
Reply = str | Sequence[Call | str]  # calls, and text before them
QUESTION = "Please open a ticket about quince."
OPEN: Call = ("open_ticket", {"title": "Citations are lost", "release": "quince"})
FIND: Call = ("find_tickets", {"text": "quince"})
PATIENCE = 600  # seconds, where a test is not about a tool that takes too long


def call_delta(name: str, args: str, place: int, call_id: str) -> Delta:
    piece = {"type": "tool_call_chunk", "index": place, "id": call_id, "name": name, "args": args}
    return Delta(tool_calls=(piece,))  # type: ignore[arg-type]


@dataclass
class RepliesChat:
    """Gives one reply after the other: a text, or calls."""

    replies: list[Reply]
    seen: list[Messages] = field(default_factory=list)
    parameters: list[ModelParameters] = field(default_factory=list)

    async def stream(self, messages: Messages, parameters: ModelParameters, **__: Any) -> AsyncGenerator[Delta, None]:
        self.seen.append(messages)
        self.parameters.append(parameters)
        reply = self.replies[min(len(self.seen), len(self.replies)) - 1]
        text = reply if isinstance(reply, str) else "".join(one for one in reply if isinstance(one, str))
        calls = [] if isinstance(reply, str) else [one for one in reply if not isinstance(one, str)]
        if text:
            yield Delta(text)
        for place, (name, args) in enumerate(calls):
            yield call_delta(name, json.dumps(args), place, f"call-{len(self.seen)}-{place}")
        yield Delta(finish_reason="tool_calls" if calls else "stop", usage=Usage(10, 2))


class Scene:
    """An application with tools, and the world that it acts on. `changes`: of config/tools.yaml."""

    def __init__(
        self,
        root: Path,
        config: Path,
        replies: Sequence[Reply],
        *,
        guards: Any = None,
        chat: Any = None,
        **changes: Any,
    ):
        config.mkdir(exist_ok=True)
        document = yaml.safe_load((root / "config" / "tools.yaml").read_text())
        document["limits"]["seconds"] = PATIENCE
        for one in document["functions"].values():
            one["timeout_seconds"] = PATIENCE
        document |= {"use": "always"} | changes
        servers = [(server, *server["tools"].values()) for server in document["servers"].values()]
        for limited in (*document["functions"].values(), *itertools.chain(*servers)):
            limited.setdefault("timeout_seconds", PATIENCE)
        (config / "tools.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        if not (config / "tools.lock.yaml").exists():
            (config / "tools.lock.yaml").write_text((root / "config" / "tools.lock.yaml").read_text())
        prompts = load_prompts(root / "prompts")
        kept = {name: prompts[name] for name in ("answer", "tools")}
        self.bundle: ReleaseBundle = replace(scripted_bundle(), prompts=kept, config=config)
        self.chat = RepliesChat(list(replies))
        nothing: Any = SimpleNamespace(search=lambda *_, **__: [])
        self.runner = ApplicationRunner(self.bundle, chat or self.chat, nothing, guards or NoChecks())
        self.agent: ToolAgent = self.runner.services.kept["tools"]

    async def ask(self, question: str = QUESTION) -> Answer:
        return await self.answer([{"role": "user", "content": question}])

    async def decide(self, name: str, *, approve: bool = True) -> Answer:
        found = await self.settle(name, None, approve=approve)
        return await self.answer(found.conversation, None, Resumption(found, approve))

    async def settle(self, name: str, tenant: str | None, *, approve: bool) -> Approval:
        about: Any = {"by": "boss", "reason": "", "release": self.bundle.release}
        return await self.agent.approvals.decide(name, tenant, approve=approve, **about)

    async def answer(self, messages: Any, tenant: str | None = None, resumed: Resumption | None = None) -> Answer:
        token = RESUMED.set(resumed)
        try:
            return await self.runner.answer(messages, tenant=tenant)
        finally:
            RESUMED.reset(token)


@pytest.fixture
def world() -> Iterator[sqlite3.Connection]:
    with functions.scratch() as found:
        yield found


@pytest.fixture
def scene(root: Path, tmp_path: Path) -> Callable[..., Scene]:
    return lambda *replies, **changes: Scene(root, tmp_path / "config", replies, **changes)


def tickets(world: sqlite3.Connection) -> list[str]:
    return [row["title"] for row in world.execute("SELECT title FROM tickets ORDER BY id")]


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


class WithholdsOrders(NoChecks):
    async def check_passage(self, text: str) -> GuardOutcome:
        return GuardOutcome("", True, ("injection.override",)) if "IGNORE" in text else GuardOutcome(text, False, ())
