"""Language of an answer: a label, the ISO 639-1 code. Answers, not declines, with a detectable language.

Spans of a few words mostly have none: `sluice.evaluation.language_detection` says how sure it must be.
"""

from sluice.data.rows import Row
from sluice.evaluation.language_detection import language_of
from sluice.evaluation.output import Label, Metric, Output
from sluice.evaluation.registry import metric


@metric
class Language(Metric):
    name = "language"
    what = "ISO 639-1 code of the answer's language (below)"
    unit = "language"
    rows = "that were answered, in a language that can be told"
    needs = "model"
    direction = None
    aggregate = "counts"

    def score(self, row: Row, output: Output) -> Label | None:  # noqa: ARG002 - the protocol's signature
        found = None if output.declined else language_of(output.text)
        return Label(found) if found else None
