"""Calls of tools: whether an answer made those that the row expects, in its order, and none that it forbids.

A call that failed is a fault, so a broken tool shows in every row that needs it, over HTTP as in the evaluation.
"""

from sluice.evaluation.registry import Assertion, Output, Row, metric


@metric(
    what="the calls of tools are those of the row's `expect.tools`, and none failed",
    rows="with `expect.tools`",
    unit="share",
    aggregate="share",
)
def tool_calls(row: Row, output: Output) -> Assertion | None:
    """Judges one case."""
    from sluice.extras.tools.expected_calls import expected_calls, fault_of_calls

    wanted = expected_calls(row)
    if wanted is None:
        return None
    fault = fault_of_calls(wanted, output.steps)
    return Assertion(not fault, fault)
