"""Files of a harvest: proposed rows as JSON lines, and a page for the reviewer."""

from __future__ import annotations

from sluice.extras.curation.proposed_rows import PAGE, ROWS, ProposalBranch, line, lines
from sluice.extras.traffic.harvest import HarvestProposal, HarvestResult

PLACE = ProposalBranch(
    branch="harvest",
    folder="docs/proposals",
    mark="Harvested-Rows: ",
    subject="Propose rows for what users asked in vain",
    title="Rows that users' questions propose",
)

_HEAD = """# Proposed rows

Questions that users asked in vain, taken together by likeness. The answers are suggestions: sentences of the corpus
that lie near the question, not what the model said. To accept a row, read it, correct question and answers, take its
key `status` out, and move it to `data/train.jsonl` or `data/eval.jsonl`; then `sluice data check`. A row with its
`status` is refused there.

| id | question | asked | declined | disliked | suggested answer | from | nearness |
|---|---|---|---|---|---|---|---|
"""


def files(harvest: HarvestResult) -> dict[str, str]:
    """The text of each by its name."""
    return {ROWS: lines(proposal.row for proposal in harvest.proposals), PAGE: page(harvest)}


def page(harvest: HarvestResult) -> str:
    """Markdown: one line a proposal, then what is not proposed, then traces to look at."""
    proposed = [_line(proposal) for proposal in harvest.proposals]
    left_out = [f"- {number} × {why}" for why, number in sorted(harvest.left_out.items())]
    traces = [f"- `{proposal.row.id}`: {', '.join(proposal.traces)}" for proposal in harvest.proposals]
    parts = [_HEAD + "\n".join(proposed)]
    if left_out:
        parts.append("Not proposed:\n\n" + "\n".join(left_out))
    if traces:
        parts.append("Traces:\n\n" + "\n".join(traces))
    return "\n\n".join(parts) + "\n"


def _line(proposal: HarvestProposal) -> str:
    row = proposal.row
    answer = row.answers[0] if row.answers else "(decline)"
    counts = (proposal.asked, proposal.declined, proposal.disliked)
    return line([row.id, row.question, *counts, answer, ", ".join(row.doc_ids), f"{proposal.similarity:.2f}"])
