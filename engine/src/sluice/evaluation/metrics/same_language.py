"""Same language: the answer is not in another language than the question. Answers, not declines, to questions whose
language can be told; an answer of a few words, whose language nobody can tell, is not in another one.
"""

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
    needs = "model"

    def score(self, row: Row, output: Output) -> Assertion | None:
        asked = None if output.declined else language_of(row.question)
        if not asked:
            return None
        answered = language_of(output.text) or asked
        return Assertion(answered == asked, "" if answered == asked else f"asked in {asked}, answered in {answered}")
