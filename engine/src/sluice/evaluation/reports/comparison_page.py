"""report.html: the comparison as one offline page, with search, filters and details for every case.

The cases are JSON that is rendered when it becomes visible; the content security policy allows the page's own script
only. `write_reports` writes comment.md and comparison.json beside it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_atomic, write_json
from sluice.core.html_theme import page_environment
from sluice.evaluation.comparison_result import ORDER, CaseChange, Comparison
from sluice.evaluation.paired_cases import CaseResult
from sluice.evaluation.reports import phrasing
from sluice.evaluation.reports.comparison_comment import write_comment
from sluice.evaluation.reports.phrasing import ComparedVersion, parts_of, printable

COMMENT, PAGE, JSON = "comment.md", "report.html", "comparison.json"
_TEMPLATES = Path(__file__).parent / "templates"
_STATES = {"worse": "failed", "improved": "passed", "no difference seen": "passed"}


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


def page(
    comparison: Comparison | None,
    base: ComparedVersion,
    head: ComparedVersion,
    prompts: Sequence[Mapping[str, Any]] = (),
    *,
    cases: Sequence[CaseChange] = (),
    template: Path | None = None,
    **more: Any,
) -> str:
    from markupsafe import Markup

    script = (_TEMPLATES / "cases.js").read_text(encoding="utf-8")
    own = template or _TEMPLATES / "comparison.html.j2"
    environment = page_environment(own.parent, _TEMPLATES)
    environment.filters["printable"] = lambda text: printable(str(text))
    metrics = comparison.metrics if comparison else ()
    ordered = sorted(phrasing.ordered(metrics), key=lambda metric: metric.decides == "never")
    cases = comparison.cases if comparison else cases
    counts = Counter(case.status for case in cases)
    return environment.get_template(own.name).render(
        **more,
        comparison=comparison,
        base=base,
        head=head,
        state=_STATES.get(comparison.verdict, "open") if comparison else "open",
        title=phrasing.title(comparison) if comparison else head.title,
        sentence=phrasing.sentence(comparison) if comparison else "",
        metrics=[(metric, phrasing.bar(metric.judgement)) for metric in ordered],
        prompts=prompts,
        parts=parts_of(base, head),
        statuses=[(status, counts[status]) for status in ORDER if status in counts],
        tags=sorted({tag for case in cases for tag in case.pair.case.tags}),
        flipped=[metric.name for metric in metrics if metric.fixed or metric.broken],
        units={metric.name: metric.unit for metric in metrics},
        words=phrasing,
        data=Markup(_data(cases, (base.name, head.name))),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _data(cases: Sequence[CaseChange], sides: tuple[str, str]) -> str:
    """Return all cases as JSON in ASCII, so that no text can end it early; recurring texts stand once."""
    texts: dict[str, int] = {}
    listed = [_case(change, texts) for change in cases]
    data = {"sides": sides, "texts": list(texts), "cases": listed}
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _case(change: CaseChange, texts: dict[str, int]) -> dict[str, Any]:
    case = change.pair.case
    return change.as_dict() | {
        "question": case.question,
        "notes": change.notes,
        "expected": case.expected,
        "changes": [(name, round(before, 4), round(after, 4)) for name, before, after in change.changes],
        "base": _side(change.pair.base, texts),
        "head": _side(change.pair.head, texts),
    }


def _side(case: CaseResult | None, texts: dict[str, int]) -> list[dict[str, Any]] | None:
    if case is None:
        return None
    return [
        {
            "status": trial.get("status") or "answered",
            "answer": trial.get("answer"),
            "citations": trial.get("citations") or [],
            "retrieved": trial.get("retrieved") or [],
            "passages": [texts.setdefault(str(text), len(texts)) for text in trial.get("passages") or ()],
            "failed": {
                name: str(one.get("reason") or "")
                for name, one in (trial.get("assertions") or {}).items()
                if one and not one["passed"]
            },
            "errors": {str(name): str(text) for name, text in (trial.get("errors") or {}).items()},
        }
        for trial in case.trials
    ]
