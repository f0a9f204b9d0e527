"""Regular expression: the row's `expect.regex` is found somewhere in the answer. Only rows that ask for it.

Anchor it (`\\A…\\Z`) to speak about the whole answer. The syntax is that of the library regex, a superset of Python's
re; a search that takes over a second is an error of the metric, not a verdict.
"""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Assertion, Output

_SECONDS = 1.0


class Regex:
    name = "regex"
    version = "1"
    unit = "share"
    direction: Literal["higher"] = "higher"
    aggregate: Literal["share"] = "share"

    def score(self, row: Row, output: Output) -> Assertion | None:
        if row.expect is None or row.expect.regex is None:
            return None
        import regex

        found = regex.search(row.expect.regex, output.text, timeout=_SECONDS)
        return Assertion(bool(found), "" if found else f"no match of {row.expect.regex!r}")
