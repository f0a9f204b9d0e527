"""Regular expression: the row's `expect.regex` matches somewhere in the answer. Rows with this expectation only.

Anchor it (`\\A…\\Z`) to speak about the whole answer. The syntax is that of the library regex, a superset of Python's
re; a search that takes over a second is an error of the metric, not a verdict.
"""

from sluice.evaluation.registry import Assertion, Output, Row, metric

_SECONDS = 1.0


@metric(
    what="`expect.regex` is found in the answer; a search of more than a second is an error",
    unit="share",
    rows="that ask for it",
    aggregate="share",
    libraries=("regex",),
)
def regex(row: Row, output: Output) -> Assertion | None:
    if row.expect is None or row.expect.regex is None:
        return None
    import regex

    found = regex.search(row.expect.regex, output.text, timeout=_SECONDS)
    return Assertion(bool(found), "" if found else f"no match of {row.expect.regex!r}")
