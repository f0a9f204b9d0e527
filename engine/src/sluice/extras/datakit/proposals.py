"""Proposed rows. Every reader refuses their key `status` (data/rows.py), so nothing enters training or evaluation
before a person has read it and accepted it with `sluice data accept`."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.git import commit_tree, run
from sluice.core.text import code, table
from sluice.core.workspace import Workspace
from sluice.data.contract import check
from sluice.data.privacy import DataPolicy
from sluice.data.rows import PROPOSED, SOURCES, Row, parse_row
from sluice.data.scanning import require_whole, scan_lines
from sluice.extras.pull_requests.branch_pull_request import PullRequestText, push_branch, upsert_pull, with_files

ROWS, PAGE = "rows.jsonl", "README.md"
SIDES = ("train", "eval")
_MARK = "Proposed-Rows: "  # in the message of a commit: the branch is ours
_LONGEST_BODY = 60_000  # characters; GitHub refuses a pull request with some more
_HOW = "Read every row. Correct questions and answers in `{}`, delete the lines that you reject, then run {}."


@dataclass(frozen=True)
class Proposal:
    """A row to review; `facts` are further columns of the page, `evidence` is what to review it by."""

    row: Row
    facts: Mapping[str, object]
    evidence: str


@dataclass
class Proposals:
    """The proposals of one source; `name` is of its branch and folder, `left_out` counts by reason."""

    name: str
    title: str
    intro: str
    sides: tuple[str, ...] = SIDES
    proposals: list[Proposal] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def leave_out(self, why: str, number: int = 1) -> None:
        if number:
            self.left_out[why] += number

    def files(self, folder: str) -> dict[str, str]:
        """Return the rows and the page by file name; `folder` is where they will lie."""
        return {ROWS: proposed_lines(one.row for one in self.proposals), PAGE: self._page(f"{folder}/{ROWS}")}

    def _page(self, file: str) -> str:
        facts = list(self.proposals[0].facts) if self.proposals else []
        rows = [
            [one.row.id, one.row.in_context, " / ".join(one.row.answers) or "(decline)", ", ".join(one.row.doc_ids)]
            + [str(one.facts[name]) for name in facts]
            for one in self.proposals
        ]
        left_out = "".join(f"- {number} × {why}\n" for why, number in sorted(self.left_out.items()))
        evidence = "".join(f"- {code(one.row.id)}: {code(one.evidence)}\n" for one in self.proposals)
        commands = " or ".join(f"`sluice data accept {file} {side}`" for side in self.sides)
        parts = [
            f"# {self.title}\n\n{self.intro}\n\n{_HOW.format(file, commands)}\n",
            table(["id", "question", "answer", "documents", *facts], rows),
            f"Not proposed:\n\n{left_out}" if left_out else "",
            f"Evidence:\n\n{evidence}",
        ]
        return "\n".join(filter(None, parts))


def proposed_lines(rows: Iterable[Row]) -> str:
    """Return rows as lines of JSON that no reader takes before they are accepted."""
    return _lines({**row.as_dict(), "status": PROPOSED} for row in rows)


def _lines(values: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def write(found: Proposals, out: Path) -> None:
    for name, text in found.files(str(out)).items():
        write_atomic(out / name, text)


def publish(workspace: Workspace, found: Proposals) -> None:
    """Push the branch of a source, one commit on HEAD, and open or update its pull request."""
    root, folder = workspace.root, f"docs/proposals/{found.name}"  # outside of data/, which the pipeline reads
    files = found.files(folder)
    head = run(root, "rev-parse", "HEAD")
    tree = with_files(root, head, {f"{folder}/{name}": text for name, text in files.items()})
    commit = commit_tree(root, tree, f"{found.title}\n\n{_MARK}{folder}", head)
    print(push_branch(root, commit, found.name, _MARK, os.environ))
    body = files[PAGE]
    if len(body) > _LONGEST_BODY:
        body = f"{body[:_LONGEST_BODY].rpartition(chr(10))[0]}\n\nThe rest is in `{folder}/{PAGE}`.\n"
    posted = upsert_pull(PullRequestText(found.name, found.title, body), os.environ)
    print(f"{posted.message}: {posted.url}")


def sources_of(rows: Path) -> Path:
    """Return the file that names the source of imported rows: `new.sources.jsonl` for `new.jsonl`."""
    return rows.with_suffix(f".{SOURCES}")


def accept(path: Path, side: str, data: Path, policy: DataPolicy) -> int:
    """Add reviewed rows, and the source of imported ones, to a side of the data set, or nothing; return how many.

    Faults that the data set has already, such as a side without rows, stay its own."""
    if side not in SIDES:
        raise SluiceError(f"{side}: no part of the data", remedy=f"choose {' or '.join(SIDES)}")
    rows = require_whole(path, scan_lines(path, _parse))
    if side == "eval" and any(row.provenance and not row.provenance.review for row in rows):
        remedy = "accept them into train, or read each on the page of `sluice data start`, which keeps your decision"
        raise SluiceError(f"{path}: a model or a template wrote these rows", remedy=remedy)
    added = {data / f"{side}.jsonl": _lines(row.as_dict() for row in rows).encode()}
    if sources_of(path).is_file():
        added[data / SOURCES] = sources_of(path).read_bytes()
    before = {file: file.read_bytes() if file.exists() else None for file in added}
    faults_before = check(data, policy).faults
    for file, content in added.items():
        old = before[file] or b""
        write_atomic(file, old + (b"" if old.endswith(b"\n") or not old else b"\n") + content)
    if faults := set(check(data, policy).faults).difference(faults_before):
        for file, kept in before.items():
            if kept is None:
                file.unlink()
            else:
                write_atomic(file, kept)
        what = f"{path}: with these rows the data breaks its rules; nothing was written"
        raise ValidationErrors(
            what, [str(fault) for fault in sorted(faults)], remedy=f"correct {path}: its rows come last"
        )
    return len(rows)


def _parse(line: str) -> tuple[Row | None, list[str]]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return parse_row(line)  # says what is wrong
    if isinstance(value, dict):
        value.pop("status", None)
    return parse_row(json.dumps(value))
