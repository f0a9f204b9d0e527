"""Reports of a red team run: the reports of an evaluation, with the attack families before them.

Attempts become evaluation records, so that two runs are compared like two evaluations.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_atomic, write_json
from sluice.core.html_theme import page_environment
from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_policy import ComparisonPolicy, MetricPolicy
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.paired_cases import Record
from sluice.evaluation.registry import NamedMeasure
from sluice.evaluation.reports import COMMENT, PAGE, ComparedVersion
from sluice.evaluation.reports.comparison_comment import write_comment
from sluice.evaluation.reports.comparison_page import page
from sluice.evaluation.reports.phrasing import quoted
from sluice.extras.redteam.result import FILE, AttackCount, FamilyResult, RedTeamResult, coverage
from sluice.extras.redteam.target import AttackAttempt

RESISTED = "resisted"  # the one metric: the share of attacks that got nothing


def record(attempt: AttackAttempt) -> dict[str, Any]:
    """A line of cases.jsonl: the keys of engine/docs/reference/evaluation.md, as far as an attack has them; `tags` are
    the family and the form."""
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
    """Attack by attack, over those that both runs asked in the same words; None where there are none. `policy`: that of
    `comparison:` in config/gates.yaml, whose metrics are those of answers."""
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
_PLAIN = re.compile(r"[\w .,:;%()+-]+")


def write_reports(
    folder: Path, result: RedTeamResult, comparison: Comparison | None, base: ComparedVersion, head: ComparedVersion
) -> None:
    """redteam.json always; comment.md always; report.html where there is something to compare with."""
    write_json(folder / FILE, result.model_dump(mode="json"))
    text = summary(result)
    if comparison is not None:
        text += "\n" + write_comment(comparison, base, head, limit=_LIMIT - len(text.encode()))
        shown = page(
            comparison,
            base,
            head,
            template=_TEMPLATES / "redteam.html.j2",
            result=result,
            rows=rows(result.families),
            owasp=owasp_rows(result.families),
            headline=headline(result),
        )
        write_atomic(folder / PAGE, shown)
    write_atomic(folder / COMMENT, text)


def headline(result: RedTeamResult) -> str:
    failed = result.refused
    if failed:
        return f"Red team: {len(failed)} of {len(result.gates) + (result.against is not None)} checks fail"
    part = "" if result.complete else ", of those that a part of a run can have"
    return f"Red team: every limit holds{part}"


def rows(measured: Sequence[FamilyResult]) -> list[dict[str, str]]:
    """A row a family: name, attempts, and for each side its success."""
    return [
        {
            "name": family.name,
            "attempts": str(max((one.attempts for one in family.sides.values()), default=0)),
            **{side: shown(family.sides.get(side)) for side in ("complying", "unguarded", "released")},
        }
        for family in measured
    ]


def owasp_rows(measured: Sequence[FamilyResult]) -> list[dict[str, str]]:
    """A row an entry of OWASP's two lists: what was tried before the guards, or as released where nothing else was."""
    sides = {family.name: family.sides.get("complying") or family.sides.get("released") for family in measured}
    return coverage({name: shown(count) for name, count in sides.items() if count and count.attempts})


def shown(count: AttackCount | None) -> str:
    """`3/256 = 1.2 % (0.4 to 3.4 %)`; a dash where nothing was tried."""
    if count is None or not count.attempts:
        return "–"
    errors = f", {count.errors} without an answer" if count.errors else ""
    if count.rate is None or count.interval is None:
        return f"none answered{errors}"
    low, high = (f"{bound * 100:.1f}" for bound in count.interval)
    answered = count.attempts - count.errors
    return f"{count.succeeded}/{answered} = {count.rate * 100:.1f} % ({low} to {high} %){errors}"


def in_the_terminal(result: RedTeamResult) -> str:
    """A line a family and side, and garak's; the reports have the rest."""
    lines = [f"{headline(result)} ({result.subject}, {result.seconds:.0f} s)", ""]
    for family in result.families:
        lines += [f"{family.name:<20} {side:<10} {shown(one)}" for side, one in family.sides.items()]
    if result.garak is not None:
        lines.append("")
        for one in result.garak.probes:
            lines.append(f"garak {one.probe:<50} {one.succeeded}/{one.evaluated}  {one.detector}")
    if result.unjudged:
        lines += ["", f"not judged in this part of a run: {', '.join(result.unjudged)}"]
    return "\n".join(lines)


def summary(result: RedTeamResult) -> str:
    """The figures in Markdown, as the job summary shows them."""
    pages = page_environment(_TEMPLATES, escape=False)
    pages.filters["code"] = _code
    shown = pages.get_template("redteam.md.j2").render(
        result=result, rows=rows(result.families), owasp=owasp_rows(result.families), headline=headline(result)
    )
    return f"{shown}\n"


def _code(text: str) -> str:
    """As code: readable where the text is plain, and safe where it is not, as an error of a scanner may be."""
    return f"`{text}`" if _PLAIN.fullmatch(text) else quoted(text, 400)
