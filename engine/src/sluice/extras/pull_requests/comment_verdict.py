"""The comment on a comparison and its verdict as a hidden line above anything quoted from answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from sluice.core.atomic_files import read_json
from sluice.core.settings import Settings
from sluice.evaluation.reports.comparison_page import JSON
from sluice.extras.pull_requests.pull_request_comment import head_of
from sluice.github.workflow_run import run_url

_LINE = re.compile(r"^<!-- sluice:verdict (\{.*\}) -->$", re.MULTILINE)


class WorseMetric(Settings):
    name: str
    base: float | None = None
    head: float | None = None

    def __str__(self) -> str:
        figures = f" {self.base:.3g} -> {self.head:.3g}" if None not in (self.base, self.head) else ""
        return self.name + figures


class CommentVerdict(Settings):
    """`verdict` is that of comparison.json, or `not compared`."""

    head: str
    verdict: str
    passed: bool
    worse: tuple[WorseMetric, ...] = ()

    def line(self) -> str:
        """Return the hidden line; a metric's name can't end it."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True).replace(">", "\\u003e")
        return f"<!-- sluice:verdict {text} -->"


def verdict_line(folder: Path, head: str) -> str:
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
    lines = [line for text in comments if (line := _LINE.search(text))]
    found = [CommentVerdict.model_validate_json(line[1]) for line in lines]
    return next((one for one in found if one.head == head), None)


def comparison_text(file: Path, report: str, environment: Mapping[str, str]) -> str:
    """Return the comment: title, hidden verdict line, links and commit, then the rest of the comparison."""
    text = file.read_text(encoding="utf-8") if file.is_file() else "## ! Not compared\n\nThe run ended before that.\n"
    title, _, rest = text.partition("\n\n")
    parts = [f"[Open the report]({report}): every case with both answers"] if report else []
    parts += [f"[run]({url})"] if (url := run_url(environment)) else []
    parts += [f"for {head}"] if (head := head_of(environment)) else []
    return "\n\n".join([title, verdict_line(file.parent, head), *filter(None, [" · ".join(parts)]), rest])
