"""What LangChain's agent is bounded by: middleware that ends its loop, and middleware that calls its tools."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, ToolMessage

from sluice.extras.tools.toolbox import ToolChangedError, ToolFailedError
from sluice.serving.answer import ModelError
from sluice.serving.request_state import RequestState, current_request

if TYPE_CHECKING:
    from weakref import WeakKeyDictionary

    from sluice.extras.tools.approvals import Approvals
    from sluice.extras.tools.settings import LoopLimits
    from sluice.extras.tools.toolbox import Tool


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
    """Calls tools: what may be called, how often, for how long, and what writes only when it was approved."""

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
        """What the model is told, and the outcome in a word."""
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
        text, outcome = await called(tool, args, key if tool.writes else "")
        if key:
            await self._approvals.note(key, outcome)
        return text, outcome


async def called(tool: Tool, args: dict[str, Any], key: str) -> tuple[str, str]:
    """Calls a tool within its time."""
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
