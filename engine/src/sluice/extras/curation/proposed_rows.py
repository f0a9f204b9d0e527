"""Proposed rows: their JSON lines, and the page for the reviewer.

A proposed row is marked by its key `status`, and every reader of rows refuses it (rows.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sluice.core.atomic_files import write_atomic
from sluice.data.rows import PROPOSED, Row

ROWS, PAGE = "rows.jsonl", "README.md"
_LONGEST_BODY = 60_000  # characters; GitHub refuses a pull request with some more


@dataclass(frozen=True)
class ProposalBranch:
    """Where proposals lie for the person who decides: a branch with one commit, and its pull request.

    `folder`: in git, where a pull request shows it, and outside of data/, which the pipeline reads. `mark`: the line of
    the commit by which the branch is known as ours; `subject`: its first line; `title`: of the pull request.
    """

    branch: str
    folder: str
    mark: str
    subject: str
    title: str

    @property
    def message(self) -> str:
        return f"{self.subject}\n\n{self.mark}{self.folder}"

    def body(self, page: str) -> str:
        """The page, or as much of it as a pull request may say."""
        if len(page) <= _LONGEST_BODY:
            return page
        return f"{page[:_LONGEST_BODY].rpartition(chr(10))[0]}\n\nThe rest is in `{self.folder}/{PAGE}`.\n"


def lines(rows: Iterable[Row]) -> str:
    """The file of rows."""
    return "".join(json.dumps({**row.as_dict(), "status": PROPOSED}, ensure_ascii=False) + "\n" for row in rows)


def write(files: Mapping[str, str], out: Path) -> None:
    """Writes files, each whole or not at all.

    Args:
        files: text by name.
        out: folder.
    """
    for name, text in files.items():
        write_atomic(out / name, text)


def line(cells: Iterable[object]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cell(value) for value in cells) + " |"


def cell(value: object) -> str:
    """What users and models wrote is text: no link, no mark-up, no new line of the table."""
    text = " ".join(str(value).split())
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("@", "@\u200b")  # mentions no user
