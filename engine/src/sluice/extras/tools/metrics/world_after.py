"""The world after an answer: whether tools that read say what the row expects, in the world of the case.

Only the evaluation has such a world. Over HTTP nothing is done without an approval, and this says nothing.
"""

from sluice.evaluation.registry import Assertion, Output, Row, metric


@metric(
    what="after the answer the world holds what the row's `expect.tools.world` says",
    rows="with `expect.tools.world`, in the evaluation",
    unit="share",
    aggregate="share",
)
def world_after(row: Row, output: Output) -> Assertion | None:
    """Judges one case."""
    from sluice.extras.tools.expected_calls import expected_calls, shown

    wanted = expected_calls(row)
    looked = [step for step in output.steps if step["outcome"] == "world"]
    if wanted is None or not wanted.world or not looked:
        return None
    fault = next((f"{shown(step)}: {step['fault']}" for step in looked if step["fault"]), "")
    return Assertion(not fault, fault)
