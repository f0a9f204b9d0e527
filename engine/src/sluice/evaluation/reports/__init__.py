"""Reports of a comparison: comment.md, report.html and comparison.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_atomic, write_json
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.reports.comparison_comment import write_comment
from sluice.evaluation.reports.comparison_page import page
from sluice.evaluation.reports.phrasing import ComparedVersion

COMMENT, PAGE, JSON = "comment.md", "report.html", "comparison.json"

__all__ = ["COMMENT", "JSON", "PAGE", "ComparedVersion", "write_reports"]


def write_reports(
    folder: Path,
    comparison: Comparison,
    base: ComparedVersion,
    head: ComparedVersion,
    prompts: Sequence[Mapping[str, Any]] = (),
) -> None:
    changed = [prompt for prompt in prompts if prompt.get("status") != "same"]
    write_atomic(folder / COMMENT, write_comment(comparison, base, head, changed))
    write_atomic(folder / PAGE, page(comparison, base, head, changed))
    document = {**comparison.as_dict(), "base": base.as_dict(), "head": head.as_dict(), "prompts": list(changed)}
    write_json(folder / JSON, document)
