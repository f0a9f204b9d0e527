"""Language of an answer: a label, the ISO 639-1 code. Answers, not declines, with a detectable language.

Spans of a few words mostly have none: `sluice.extras.language.language_detection` says how sure it must be.
"""

from sluice.evaluation.registry import Label, Output, Row, metric
from sluice.extras.language.language_detection import language_of


@metric(
    what="ISO 639-1 code of the answer's language (below)",
    unit="language",
    rows="that were answered, in a language that can be told",
    needs="model",
    direction=None,
    aggregate="counts",
    libraries=("py3langid",),
)
def language(_row: Row, output: Output) -> Label | None:
    found = None if output.declined else language_of(output.text)
    return Label(found) if found else None
