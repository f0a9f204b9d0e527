"""The files of a harvest: proposed rows for the machine, a page for the person who decides."""

from __future__ import annotations

import json
from pathlib import Path

from sluice.core.files import write_atomic
from sluice.traffic.harvest import Harvest, Proposal

ROWS, PAGE = "rows.jsonl", "README.md"
# Where they lie on the branch: in git, where a pull request shows them, and outside of data/, which the pipeline reads.
FOLDER = "docs/proposals"
BRANCH = "harvest"
MARK = "Harvested-Rows: "

_HEAD = """# Proposed rows

Questions that users asked in vain, taken together by likeness. The answers are suggestions: sentences of the corpus
that lie near the question, not what the model said. To accept a row, read it, correct question and answers, take its
key `status` out, and move it to `data/train.jsonl` or `data/eval.jsonl`; then `sluice data check`. A row with its
`status` is refused there.

| id | question | asked | declined | disliked | suggested answer | from | nearness |
|---|---|---|---|---|---|---|---|
"""


def files(harvest: Harvest) -> dict[str, str]:
    """The text of each by its name."""
    lines = [json.dumps(proposal.as_dict(), ensure_ascii=False) + "\n" for proposal in harvest.proposals]
    return {ROWS: "".join(lines), PAGE: page(harvest)}


def write(harvest: Harvest, out: Path) -> None:
    """Writes them into `out`."""
    for name, text in files(harvest).items():
        write_atomic(out / name, text)


def page(harvest: Harvest) -> str:
    """Markdown: one line a proposal, then what is not proposed, then traces to look at."""
    lines = [_line(proposal) for proposal in harvest.proposals]
    left_out = [f"- {number} × {why}" for why, number in sorted(harvest.left_out.items())]
    traces = [f"- `{proposal.row.id}`: {', '.join(proposal.traces)}" for proposal in harvest.proposals]
    parts = [_HEAD + "\n".join(lines)]
    if left_out:
        parts.append("Not proposed:\n\n" + "\n".join(left_out))
    if traces:
        parts.append("Traces:\n\n" + "\n".join(traces))
    return "\n\n".join(parts) + "\n"


def _line(proposal: Proposal) -> str:
    row = proposal.row
    answer = row.answers[0] if row.answers else "(decline)"
    cells = [row.id, row.question, proposal.asked, proposal.declined, proposal.disliked, answer]
    cells += [", ".join(row.doc_ids), f"{proposal.similarity:.2f}"]
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(value: object) -> str:
    """What a user wrote is text: no link, no mark-up, no new line of the table."""
    text = " ".join(str(value).split())
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("@", "@\u200b")  # nobody is called by it
