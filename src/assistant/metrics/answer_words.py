"""Length of an answer in words; a letter of a script without spaces counts as one. Cases that were not declined.

Lower is better, because a longer answer to the same question costs more to make and to read; an answer that became
too short loses in F1.
"""

from sluice.extend import Metric, Output, Row, metric, words


@metric
class AnswerWords(Metric):
    name = "answer_words"
    what = "words of the answer; a letter of a script without spaces counts as one"
    rows = "that were answered"
    unit = "words"
    direction = "lower"

    def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002 - the protocol's signature
        return None if output.declined else float(len(words(output.text)))
