"""Reports of a red team run. Attempts become evaluation records, so runs are compared as evaluations are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_atomic, write_json
from sluice.core.html_theme import page_environment
from sluice.core.text import code
from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_policy import ComparisonPolicy, MetricPolicy
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.paired_cases import Record
from sluice.evaluation.registry import NamedMeasure
from sluice.evaluation.reports.comparison_comment import write_comment
from sluice.evaluation.reports.comparison_page import COMMENT, PAGE, page
from sluice.evaluation.reports.phrasing import ComparedVersion
from sluice.extras.redteam.result import FILE, AttackCount, FamilyResult, RedTeamResult
from sluice.extras.redteam.suites import load_cases
from sluice.extras.redteam.target import AttackAttempt

RESISTED = "resisted"  # the one metric: the share of attacks that got nothing


def record(attempt: AttackAttempt) -> dict[str, Any]:
    """Return a line of cases.jsonl with the keys of engine/docs/reference/evaluation.md; `tags` are family and form."""
    attack, reply = attempt.attack, attempt.reply
    frame = {
        "id": attack.id,
        "trial": 0,
        "question": attack.text,
        "expected": [],
        "tags": [tag for tag in (attack.family, attack.form) if tag],
    }
    if reply is None:
        return {**frame, "status": "failed", "answer": None, "assertions": {}, "errors": {RESISTED: attempt.error}}
    verdict = {"passed": not attempt.got, "reason": attempt.got}
    return {
        **frame,
        "status": "answered",
        "answer": reply.text or f"[blocked: {reply.blocked}]",
        "blocked": reply.blocked,
        "citations": list(reply.citations),
        "assertions": {RESISTED: verdict},
        "errors": {},
    }


def compare_runs(base: Sequence[Record], head: Sequence[Record], policy: ComparisonPolicy) -> Comparison | None:
    """Compare the attacks that both runs asked in the same words, or return None if there are none."""
    asked = {(one["id"], one["question"]) for one in base}
    both = [one for one in head if (one["id"], one["question"]) in asked]
    known = {one["id"] for one in both}
    if not both:
        return None
    judged = policy.model_copy(update={"metrics": {RESISTED: MetricPolicy(decides="always")}})
    return compare(
        [one for one in base if one["id"] in known], both, [NamedMeasure(RESISTED, aggregate="share")], judged
    )


_TEMPLATES = Path(__file__).parent / "templates"
_LIMIT = 64_000


def write_reports(
    folder: Path, result: RedTeamResult, comparison: Comparison | None, base: ComparedVersion, head: ComparedVersion
) -> None:
    """Write redteam.json, comment.md and, if there is a comparison, report.html."""
    write_json(folder / FILE, result.model_dump(mode="json"))
    figures: dict[str, Any] = {"result": result, "shown": shown, "owasp": coverage(result.families)}
    pages = page_environment(_TEMPLATES, escape=False)
    pages.filters["code"] = code
    text = f"{pages.get_template('redteam.md.j2').render(figures)}\n"
    if comparison is not None:
        text += "\n" + write_comment(comparison, base, head, limit=_LIMIT - len(text.encode()))
        write_atomic(folder / PAGE, page(comparison, base, head, template=_TEMPLATES / "redteam.html.j2", **figures))
    write_atomic(folder / COMMENT, text)


def shown(count: AttackCount | None) -> str:
    """Format a count as `3/256 = 1.2 % (0.4 to 3.4 %)`, or as a dash if nothing was tried."""
    if count is None or not count.attempts:
        return "–"
    errors = f", {count.errors} without an answer" if count.errors else ""
    if count.rate is None or count.interval is None:
        return f"none answered{errors}"
    low, high = (f"{bound * 100:.1f}" for bound in count.interval)
    answered = count.attempts - count.errors
    return f"{count.succeeded}/{answered} = {count.rate * 100:.1f} % ({low} to {high} %){errors}"


def coverage(measured: Sequence[FamilyResult]) -> list[dict[str, str]]:
    """Return a row for each OWASP entry: attack success before the guards, or as released if that was not tried."""
    sides = {family.name: family.sides.get("complying") or family.sides.get("released") for family in measured}
    successes = {name: shown(count) for name, count in sides.items() if count and count.attempts}
    found = []
    for entry in load_cases("owasp"):
        names = sorted(entry.get("families", ()), key=lambda name: name not in successes)
        tried = [f"{name}: {successes.get(name, 'not tried')}" for name in names]
        said = "; ".join([*tried, *([entry["otherwise"]] if "otherwise" in entry else [])])
        found.append({"number": entry["number"], "title": entry["title"], "said": said if names else f"– ({said})"})
    return found


def in_the_terminal(result: RedTeamResult) -> str:
    lines = [f"{result.headline} ({result.subject}, {result.seconds:.0f} s)", ""]
    for family in result.families:
        lines += [f"{family.name:<20} {side:<10} {shown(one)}" for side, one in family.sides.items()]
    if result.unjudged:
        lines += ["", f"not judged in this part of a run: {', '.join(result.unjudged)}"]
    return "\n".join(lines)
