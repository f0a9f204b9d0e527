"""Same language: the answer is in the language of the question. Answers, not declines, where both can be told."""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.language import language_of
from sluice.evaluation.output import Assertion, Output


class SameLanguage:
    name = "same_language"
    version = "1"
    unit = "share"
    direction: Literal["higher"] = "higher"
    aggregate: Literal["share"] = "share"

    def score(self, row: Row, output: Output) -> Assertion | None:
        answered = None if output.declined else language_of(output.text)
        asked = language_of(row.question) if answered else None
        if not answered or not asked:
            return None
        return Assertion(answered == asked, "" if answered == asked else f"asked in {asked}, answered in {answered}")
