"""Same language: the answer is in the language of the question. Answers, not declines, to questions whose language can
be detected; an answer too short for detection counts as the same language."""

from sluice.evaluation.registry import Assertion, Output, Row, metric
from sluice.extras.language.language_detection import language_of


@metric(
    what="the answer is not in another language than the question; one whose language nobody can tell is not",
    unit="share",
    rows="that were answered, to a question whose language can be told",
    needs="model",
    aggregate="share",
    libraries=("py3langid",),
)
def same_language(row: Row, output: Output) -> Assertion | None:
    asked = None if output.declined else language_of(row.question)
    if not asked:
        return None
    answered = language_of(output.text) or asked
    return Assertion(answered == asked, "" if answered == asked else f"asked in {asked}, answered in {answered}")
