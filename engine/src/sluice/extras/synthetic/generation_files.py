"""Files of a generation: proposed rows as JSON lines, and a page for the reviewer."""

from __future__ import annotations

from sluice.extras.curation.proposed_rows import PAGE, ROWS, ProposalBranch, cell, line, lines
from sluice.extras.synthetic.generate_rows import GeneratedRow, GenerationResult

PLACE = ProposalBranch(
    branch="generated",
    folder="docs/proposals/generated",  # beside those of a harvest, so that both can be read at a time
    mark="Generated-Rows: ",
    subject="Propose rows that a model wrote about the corpus",
    title="Rows that a model proposes",
)

_HEAD = """# Generated rows

Questions that a model wrote about the corpus. Each answer is a span of its document, and was found again by {checker},
given the question and the passage alone. Both models may be wrong together: read every row. To accept one, correct
question and answers, take its key `status` out, leave `provenance`, and move it to `data/train.jsonl`; then
`sluice data check`. A row with its `status` is refused there. None belongs into `data/eval.jsonl`: what measures is
written by people.

Written by {teachers}; prompt, document and seed are in each row's `provenance`.

| id | question | answer | from | found again | agreement |
|---|---|---|---|---|---|
"""


def files(found: GenerationResult, checker: str) -> dict[str, str]:
    """The text of each by its name."""
    return {
        ROWS: lines(one.row for one in found.proposals),
        PAGE: page(found, checker),
    }


def page(found: GenerationResult, checker: str) -> str:
    """Markdown: one line a row, what is not proposed, and the passages to read the rows by."""
    teachers = sorted({one.row.provenance.teacher for one in found.proposals if one.row.provenance})
    head = _HEAD.format(checker=cell(checker), teachers=cell(", ".join(teachers)))
    left_out = [f"- {number} × {why}" for why, number in sorted(found.left_out.items())]
    passages = {(one.passage.document.id, one.passage.text) for one in found.proposals}
    parts = [head + "\n".join(map(_line, found.proposals))]
    if left_out:
        parts.append("Not proposed:\n\n" + "\n".join(left_out))
    parts.append("Passages:\n\n" + "\n".join(f"- {cell(name)}: {cell(text)}" for name, text in sorted(passages)))
    return "\n\n".join(parts) + "\n"


def _line(one: GeneratedRow) -> str:
    row = one.row
    return line([row.id, row.question, row.answers[0], row.doc_ids[0], one.found, f"{one.agreement:.2f}"])
