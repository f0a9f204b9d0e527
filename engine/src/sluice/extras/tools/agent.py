"""The bounded loop of a model with tools. A writing call waits for an approval, and only an approved call is made."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from sluice.core.errors import SluiceError
from sluice.extras.tools.approvals import Approval, Approvals
from sluice.extras.tools.settings import FILE, ToolsFile
from sluice.extras.tools.toolbox import Tool, ToolChangedError, ToolFailedError, check_servers, open_tools
from sluice.serving.answer import ModelError
from sluice.serving.request_state import RequestState, current_request
from sluice.serving.services import TOOLS

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from sluice.extras.tools.expected_calls import ExpectedState
    from sluice.extras.tools.settings import LoopLimits, PinnedTool
    from sluice.serving.services import Services

_STEPS_OF_GRAPH = 8  # nodes of LangGraph for one reply of the model and its tools, with room


class LoopBounds(AgentMiddleware[Any, Any]):
    """Ends a loop that has used up what one question may."""

    def __init__(self, limits: LoopLimits, began: WeakKeyDictionary[RequestState, float]) -> None:
        self._limits, self._began = limits, began

    async def abefore_model(self, state: Any, runtime: Any) -> None:  # noqa: ARG002 - the signature of LangChain
        request = current_request()
        said = [one for one in state["messages"] if isinstance(one, AIMessage)]
        used: dict[str, float] = {
            "steps": len(said),
            "tokens": sum(one.usage_metadata["total_tokens"] for one in said if one.usage_metadata),
            "dollars": sum(one.cost or 0 for one in request.calls),
            "seconds": time.monotonic() - self._began[request],
        }
        for name, value in used.items():
            if value >= getattr(self._limits, name):
                raise ModelError(
                    f"the model has no answer after {value:.6g} {name} of tools",
                    remedy=f"ask for less, or raise limits.{name} of config/tools.yaml",
                )


class ToolCalls(AgentMiddleware[Any, Any]):
    """Makes the calls of tools, within their limits; a call that writes only if it was approved."""

    def __init__(self, tools: dict[str, Tool], approvals: Approvals) -> None:
        self._tools, self._approvals = tools, approvals

    async def awrap_tool_call(self, request: Any, handler: Any) -> ToolMessage:  # noqa: ARG002 - calls it itself
        call, thread = request.tool_call, request.runtime.config["configurable"]["thread_id"]
        state, name, args = current_request(), str(call["name"]), call["args"]
        with state.step(f"execute_tool {name if name in self._tools else 'unknown'}") as step:
            entry = {"name": name, "args": args, "outcome": "called"}
            state.steps.append(entry)
            text, entry["outcome"] = await self._result(name, args, thread, state)
            step.set("sluice.tool.outcome", entry["outcome"])
            if entry["outcome"] != "done":
                step.fail(entry["outcome"])
        status = "success" if entry["outcome"] == "done" else "error"
        return ToolMessage(text, name=name, tool_call_id=call["id"] or "", status=status)

    async def _result(self, name: str, args: Any, thread: str, state: RequestState) -> tuple[str, str]:
        """Return the text for the model, and the outcome."""
        tool = self._tools.get(name)
        if tool is None:
            return f"(there is no tool {name}; there are {', '.join(self._tools)})", "unknown"
        if fault := tool.fault(args):
            return f"(not called: {fault})", "invalid"
        if sum(one["name"] == name and one["outcome"] != "pending" for one in state.steps) > tool.settings.calls:
            return f"(not called: {name} may be called {tool.settings.calls} times for a question)", "used up"
        key = ""
        if tool.settings.approval == "always":
            key = await self._approvals.take(thread, name, args)
            if not key:
                return "(not called: nobody has approved this call)", "unapproved"
        text, outcome = await _called(tool, args, key if tool.writes else "")
        if key:
            await self._approvals.note(key, outcome)
        return text, outcome


async def _called(tool: Tool, args: dict[str, Any], key: str) -> tuple[str, str]:
    try:
        async with asyncio.timeout(tool.settings.timeout_seconds) as limit:
            return await tool.call(args, key), "done"
    except ToolChangedError as error:
        return f"(not called: {error.message})", "changed"
    except ToolFailedError as error:
        return f"(failed: {error.message})", "failed"
    except TimeoutError:
        if not limit.expired():
            return "(failed: TimeoutError)", "failed"
        return f"(no result within {tool.settings.timeout_seconds:g} s; it may have been done)", "unknown result"
    except Exception as error:  # any failure of a tool is a result of this call; its message may hold anything
        return f"(failed: {type(error).__name__})", "failed"


@dataclass
class Resumption:
    """A decision that a waiting loop goes on with."""

    approval: Approval
    approved: bool
    gone_on: bool = False


@dataclass(frozen=True)
class CaseOfEvaluation:
    """A row's decision about calls that wait (`None`: they wait), and what to look up at the end."""

    approve: bool | None
    after: Sequence[ExpectedState] = ()


RESUMED: ContextVar[Resumption | None] = ContextVar("resumed", default=None)
CASE: ContextVar[CaseOfEvaluation | None] = ContextVar("case", default=None)


class ToolAgent:
    """The loop of one release, safe for concurrent questions. Waiting loops are kept in `database`, or here."""

    def __init__(
        self,
        services: Services,
        model: BaseChatModel,
        file: ToolsFile,
        lock: dict[str, PinnedTool],
        database: str,
    ) -> None:
        self.tools = tools = open_tools(file, lock)
        self.approvals = approvals = Approvals(database, file.approvals.expire_seconds)
        self._services, self._file, self._lock = services, file, lock
        self._began: WeakKeyDictionary[RequestState, float] = WeakKeyDictionary()
        self._threads: WeakKeyDictionary[RequestState, str] = WeakKeyDictionary()
        self._database, self._opening = database, asyncio.Lock()
        self._saver: BaseCheckpointSaver[Any] | None = None
        held = {name: self._interrupt(one) for name, one in tools.items() if one.settings.approval == "always"}
        # The calls come first: of what wraps a call, the first is the outermost, and nothing else calls a tool.
        layers = [ToolCalls(tools, approvals), HumanInTheLoopMiddleware(held), LoopBounds(file.limits, self._began)]
        shown = [_shown(one) for one in tools.values()]
        self._graph: Any = create_agent(model, shown, middleware=layers)

    @staticmethod
    def _interrupt(tool: Tool) -> Any:
        # No approval is asked for a call that cannot be made.
        return {"allowed_decisions": ["approve", "reject"], "when": lambda one: not tool.fault(one.tool_call["args"])}

    async def open(self) -> None:
        """Check the servers' tools against their pins and open the checkpoint store, once."""
        async with self._opening:
            if self._saver is None:
                await check_servers(self._file, self._lock)
                self._saver = self._graph.checkpointer = await _opened_saver(self._database)

    async def answer(self, messages: Sequence[BaseMessage]) -> AsyncIterator[BaseMessage]:
        await self.open()
        request, resumed = current_request(), RESUMED.get()
        self._began.setdefault(request, time.monotonic())
        if request in self._threads and not resumed:  # the answer of an attempt before was refused by a guard
            await self.approvals.withdraw(self._threads[request])
            await self.forget(self._threads[request])
        thread = self._threads[request] = resumed.approval.thread if resumed else uuid4().hex
        given: Any = {"messages": list(messages)}
        if resumed and not resumed.gone_on:
            resumed.gone_on, given = True, _decision(resumed.approved, resumed.approval, request)
        elif resumed:
            given = {"messages": [messages[-1]]}  # says why the answer before was refused
        config: Any = {"configurable": {"thread_id": thread}}
        config["recursion_limit"] = (self._file.limits.steps + 1) * _STEPS_OF_GRAPH
        while given is not None:
            author = None
            async for piece, _ in self._graph.astream(given, config, stream_mode="messages", durability="exit"):
                if isinstance(piece, AIMessageChunk):
                    if piece.text and author not in (None, piece.id):
                        yield AIMessageChunk(content="\n\n")
                    author = piece.id if piece.text else author
                    yield piece
            given = None
            if waiting := (await self._graph.aget_state(config)).interrupts:
                given, text = await self._wait(thread, waiting, request)
                if text:
                    yield AIMessageChunk(content=text if author is None else f"\n\n{text}")
                    if not CASE.get():
                        return
        if case := CASE.get():
            request.steps += [await self._look(one) for one in case.after]
        if not resumed:
            await self.forget(thread)

    async def _wait(self, thread: str, waiting: Sequence[Any], request: RequestState) -> tuple[Any, str]:
        """Ask for an approval. Return how the loop goes on (if a case decides), or the answer."""
        asked = [one for interrupt in waiting for one in interrupt.value["action_requests"]]
        actions = [(one["name"], one["args"]) for one in asked]
        for over in await self.approvals.expire():
            await self.forget(over)
        release, tenant = self._services.bundle.release, request.tenant
        name = await self.approvals.ask(thread, actions, release=release, tenant=tenant, conversation=request.messages)
        case = CASE.get()
        if case and case.approve is not None and not any(self.tools[tool].remote for tool, _ in actions):
            approval = await self.approvals.decide(
                name, tenant, approve=case.approve, by="evaluation", reason="", release=release
            )
            return _decision(case.approve, approval, request), ""
        for tool, args in actions:
            request.steps.append({"name": tool, "args": args, "outcome": "pending", "approval": name})
        shown = ", ".join(f"{tool} {json.dumps(args, ensure_ascii=False)}" for tool, args in actions)
        return None, self._file.approvals.says.replace("{actions}", shown).replace("{approval}", name)

    async def _look(self, one: ExpectedState) -> dict[str, Any]:
        tool = self.tools.get(one.tool)
        step = {"name": one.tool, "args": one.args, "outcome": "world"}
        if tool is None or tool.settings.effect != "read" or tool.fault(one.args):
            return step | {"fault": "this is no call of a tool that reads"}
        text, outcome = await _called(tool, one.args, "")
        right = outcome == "done" and one.holds in text and not (one.lacks and one.lacks in text)
        return step | {"fault": "" if right else f"it says {text[:200]}"}

    def scratch(self) -> AbstractContextManager[Any] | None:
        """Return a separate world for the functions, if config/tools.yaml names one."""
        if not self._file.world:
            return None
        beside = sorted({TOOLS[name].__module__ for name in self._file.functions})
        enter = next((found for one in beside if (found := getattr(sys.modules[one], self._file.world, None))), None)
        if enter is None:
            message = f"config/{FILE}: world: no module of a function has {self._file.world!r}"
            raise SluiceError(message, remedy="name a context manager that stands beside them, or leave world empty")
        made: AbstractContextManager[Any] = enter()
        return made

    async def forget(self, thread: str) -> None:
        """Drop the checkpoint of a loop."""
        if self._saver:
            await self._saver.adelete_thread(thread)

    async def waits(self, thread: str) -> bool:
        """Tell whether a loop waits for a decision and this process can go on with it."""
        await self.open()
        return bool((await self._graph.aget_state({"configurable": {"thread_id": thread}})).interrupts)


async def _opened_saver(database: str) -> BaseCheckpointSaver[Any]:
    if not database:
        return InMemorySaver()
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    options: Any = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    pool: Any = AsyncConnectionPool(database, min_size=0, max_size=4, kwargs=options, open=False)
    await pool.open()
    saver = AsyncPostgresSaver(pool)
    await saver.setup()
    return saver


def _decision(approved: bool, approval: Approval, request: RequestState) -> Command[Any]:
    if not approved:
        request.steps += [{"name": one.tool, "args": one.args, "outcome": "denied"} for one in approval.actions]
    one = {"type": "approve"} if approved else {"type": "reject", "message": approval.reason or "it was denied"}
    return Command(resume={"decisions": [one] * len(approval.actions)})


def _shown(tool: Tool) -> StructuredTool:
    """The tool as the model sees it. `ToolCalls` makes the calls, so this coroutine is never run."""

    async def refuse(**_: Any) -> str:
        raise ToolFailedError("a tool is called by its bounds alone")

    return StructuredTool(
        name=tool.name, description=tool.pinned.description, args_schema=tool.pinned.arguments, coroutine=refuse
    )
