"""The verdict of a comparison as a hidden line of its comment, for programs that wait for it.

It stands above all that the comment shows of answers, so the first such line of a comment is Sluice's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from sluice.core.atomic_files import read_json
from sluice.core.settings import Settings
from sluice.evaluation.reports import JSON

_LINE = re.compile(r"^<!-- sluice:verdict (\{.*\}) -->$", re.MULTILINE)


class WorseMetric(Settings):
    """A deciding metric that is worse, with its figures where both sides have one."""

    name: str
    base: float | None = None
    head: float | None = None

    def __str__(self) -> str:
        figures = f" {self.base:.3g} -> {self.head:.3g}" if None not in (self.base, self.head) else ""
        return self.name + figures


class CommentVerdict(Settings):
    """`head`: the commit that was compared. `verdict`: that of comparison.json; `not compared` without one."""

    head: str
    verdict: str
    passed: bool
    worse: tuple[WorseMetric, ...] = ()

    def line(self) -> str:
        """The hidden line; a name of a metric cannot end it."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True).replace(">", "\\u003e")
        return f"<!-- sluice:verdict {text} -->"


def verdict_line(folder: Path, head: str) -> str:
    """The hidden line."""
    found = CommentVerdict(head=head, verdict="not compared", passed=False)
    if (path := folder / JSON).is_file():
        document = read_json(path)
        worse = [
            WorseMetric.model_validate({key: one.get(key) for key in ("name", "base", "head")})
            for one in document["metrics"]
            if one["verdict"] == "worse" and one["decides"] != "never"
        ]
        found = CommentVerdict(head=head, verdict=document["verdict"], passed=document["passed"], worse=tuple(worse))
    return found.line()


def find_verdict(comments: Iterable[str], head: str) -> CommentVerdict | None:
    """The verdict on a commit."""
    lines = [line for text in comments if (line := _LINE.search(text))]
    found = [CommentVerdict.model_validate_json(line[1]) for line in lines]
    return next((one for one in found if one.head == head), None)
