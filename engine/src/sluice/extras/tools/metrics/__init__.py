"""Metrics of tool calls and of the world afterwards. Over HTTP there is no world, so `world_after` has no value."""

from sluice.evaluation.registry import Assertion, Output, Row, metric


@metric(
    what="the calls of tools are those of the row's `expect.tools`, and none failed",
    rows="with `expect.tools`",
    unit="share",
    aggregate="share",
)
def tool_calls(row: Row, output: Output) -> Assertion | None:
    from sluice.extras.tools.expected_calls import expected_calls, fault_of_calls

    wanted = expected_calls(row)
    if wanted is None:
        return None
    fault = fault_of_calls(wanted, output.steps)
    return Assertion(not fault, fault)


@metric(
    what="after the answer the world holds what the row's `expect.tools.world` says",
    rows="with `expect.tools.world`, in the evaluation",
    unit="share",
    aggregate="share",
)
def world_after(row: Row, output: Output) -> Assertion | None:
    from sluice.extras.tools.expected_calls import expected_calls, shown

    wanted = expected_calls(row)
    looked = [step for step in output.steps if step["outcome"] == "world"]
    if wanted is None or not wanted.world or not looked:
        return None
    fault = next((f"{shown(step)}: {step['fault']}" for step in looked if step["fault"]), "")
    return Assertion(not fault, fault)
