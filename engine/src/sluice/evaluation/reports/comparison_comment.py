"""comment.md: the comparison for a pull request comment on GitHub and for the summary of a job.

What matters most comes first, and what comes later is left out when the comment would be longer than GitHub takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sluice.evaluation.case_changes import CaseChange
from sluice.evaluation.comparison_result import Comparison, MetricComparison
from sluice.evaluation.paired_cases import CaseResult, some
from sluice.evaluation.reports import phrasing
from sluice.evaluation.reports.compared_version import ComparedVersion, parts_of
from sluice.evaluation.reports.markdown_escape import clipped, preformatted, quoted

# GitHub takes 65,536 characters; bytes are never fewer. The rest is for a marker and a link that come with posting.
LIMIT = 64_000
_SHOWN_OPEN = 5
_NAME = 60


class _CommentBlocks:
    """Blocks of Markdown that fit in the limit; one that does not is left out and counted."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._blocks: list[str] = []
        self.left_out = 0

    def add(self, block: str) -> bool:
        size = len(block.encode()) + 2
        if size > self._left:
            self.left_out += 1
            return False
        self._left -= size
        self._blocks.append(block)
        return True

    def table(self, summary: str, head: str, rows: Iterable[str], *, at_most: float = 1.0) -> None:
        """A folded table of as many rows as fit in a share of what is left; says how many there are besides."""
        frame = f"<details><summary>{summary}</summary>\n\n{head}\n\n</details>"
        room = int(self._left * at_most) - len(frame.encode()) - 100
        fitting, listed = [], list(rows)
        for row in listed:
            room -= len(row.encode()) + 1
            if room < 0:
                break
            fitting.append(row)
        if not fitting:
            self.left_out += bool(listed)
            return
        more = len(listed) - len(fitting)
        note = f"\n\n{more} more are in the report." if more else ""
        body = "\n".join([head, *fitting])
        self.add(f"<details><summary>{summary}</summary>\n\n{body}{note}\n\n</details>")

    def text(self) -> str:
        return "\n\n".join(self._blocks) + "\n"


def write_comment(
    comparison: Comparison,
    base: ComparedVersion,
    head: ComparedVersion,
    prompts: Sequence[Mapping[str, Any]] = (),
    limit: int = LIMIT,
) -> str:
    """At most `limit` bytes, which must leave room for the verdict itself: 4,000."""
    page = _CommentBlocks(limit - 100)
    page.add(f"## {phrasing.MARKS[comparison.verdict]} {_plain(phrasing.title(comparison))}")
    page.add(_plain(phrasing.sentence(comparison), 1200))
    if comparison.reasons:
        shown = "\n".join(f"- {_plain(reason, 300)}" for reason in comparison.reasons[:_SHOWN_OPEN])
        more = len(comparison.reasons) - _SHOWN_OPEN
        page.add(f"**Not green, because**\n\n{shown}" + (f"\n- and {more} more reasons" if more > 0 else ""))
    if comparison.left_out:
        page.add(_plain(f"Not compared here: {', '.join(comparison.left_out)}.", 1200))
    page.add(f"{quoted(head.title, _NAME)} against {quoted(base.title, _NAME)}")
    page.add("\n".join([_METRICS, *map(_metric_row, phrasing.ordered(comparison.deciding))]))
    _cases(page, comparison)
    informing = [metric for metric in comparison.metrics if metric.decides == "never"]
    page.table(f"{len(informing)} metrics that inform", _METRICS, map(_metric_row, phrasing.ordered(informing)))
    for prompt in prompts:
        page.add(_prompt(prompt))
    _rest(page, comparison, base, head)
    if page.left_out:
        page.add(f"_{page.left_out} sections did not fit and are in the report._")
    return page.text()


_METRICS = "| metric | base | head | difference | interval | cases | verdict |\n|---|--:|--:|--:|:-:|--:|---|"
_CASES = "| case | question | expected | base | head | metrics |\n|---|---|---|---|---|---|"


def _plain(text: str, length: int = 200) -> str:
    """Own words with foreign names in them, as text: every sign that Markdown or GitHub reads is a reference."""
    shown = clipped(text, length)
    return "".join(f"&#{ord(sign)};" if sign in "\\`*_{}[]<>#|~@&" else sign for sign in shown)


def _metric_row(metric: MetricComparison) -> str:
    judgement = metric.judgement
    verdict = metric.verdict
    shown = f"**{verdict}**" if verdict in ("worse", "improved") else verdict
    cells = [
        quoted(metric.name, _NAME),
        phrasing.figure(judgement.base, metric.unit),
        phrasing.figure(judgement.head, metric.unit),
        phrasing.signed(judgement.difference, metric.unit),
        phrasing.interval(judgement, metric.unit),
        str(judgement.cases),
        f"{phrasing.MARKS[verdict]} {shown}" + (f"<br>{_plain(metric.note)}" if metric.note else ""),
    ]
    return f"| {' | '.join(cells)} |"


def _cases(page: _CommentBlocks, comparison: Comparison) -> None:
    """The broken ones, of which the first few are open; then those without a result; then the fixed ones."""
    found: dict[str, list[CaseChange]] = {}
    for case in comparison.cases:
        found.setdefault(case.status, []).append(case)
    broken = found.get("broken", [])
    if broken:
        rows = [_case_row(case) for case in broken]
        shown = rows[:_SHOWN_OPEN]
        page.add("\n".join([f"**Broken: {len(broken)}**\n", _CASES, *shown]))
        page.table(f"{len(rows) - len(shown)} more broken cases", _CASES, rows[_SHOWN_OPEN:], at_most=0.5)
    for status in ("failed", "not evaluated", "not compared", "error"):
        if cases := found.get(status):
            page.table(f"{len(cases)} {status}", _CASES, map(_case_row, cases), at_most=0.4)
    if fixed := found.get("fixed"):
        page.table(f"{len(fixed)} fixed", _CASES, map(_case_row, fixed), at_most=0.5)


def _case_row(change: CaseChange) -> str:
    case = change.pair.case
    marks = [f"✕ {quoted(name, _NAME)}" for name in change.broken] + [
        f"✓ {quoted(name, _NAME)}" for name in change.fixed
    ]
    if not marks:
        marks = [quoted(f"{name}: {text}") for name, text in list(case.errors.items())[:2]]
    cells = [
        quoted(change.id, _NAME),
        quoted(case.question),
        quoted(" / ".join(case.expected), 120) or "declines",
        *_answers(change.pair.base, change.pair.head),
        "<br>".join(marks[:6]),
    ]
    return f"| {' | '.join(cells)} |"


def _answers(base: CaseResult | None, head: CaseResult | None) -> tuple[str, str]:
    """Those of the first trial in which they differ, else of the first."""
    old, new = base.answers if base else (None,), head.answers if head else (None,)
    place = next((n for n, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), 0)
    return quoted(old[place] or "") or "no answer", quoted(new[place] or "") or "no answer"


def _prompt(prompt: Mapping[str, Any]) -> str:
    """What changed in a prompt: parameters as a list, messages as removed and added words."""
    lines = [
        f"- {quoted(str(value['name']), _NAME)}: {_short(value['base'])} → {_short(value['head'])}"
        for key in ("parameters", "variables")
        for value in prompt.get(key) or ()
    ]
    blocks = []
    for message in prompt.get("messages") or ():
        pieces = [(str(kind), str(text)) for kind, text in message["pieces"]]
        if message["base_role"] == message["head_role"] and all(kind == " " for kind, _ in pieces):
            continue
        role = message["head_role"] or message["base_role"]
        blocks.append(
            f"{quoted(str(role), _NAME)}\n\n{preformatted([(kind, _context(kind, text)) for kind, text in pieces])}"
        )
    body = "\n\n".join(part for part in ("\n".join(lines), *blocks) if part)
    name = quoted(str(prompt.get("name")), _NAME)
    return f"<details><summary>prompt {name} {_plain(str(prompt.get('status')))}</summary>\n\n{body}\n\n</details>"


def _short(value: Any) -> str:
    return quoted(str(value), _NAME)


def _context(kind: str, text: str) -> str:
    """Text that stayed is shown where it borders on a change."""
    return text if kind != " " or len(text) <= 160 else f"{text[:70]} […] {text[-70:]}"


def _rest(page: _CommentBlocks, comparison: Comparison, base: ComparedVersion, head: ComparedVersion) -> None:
    slices = [
        f"| {quoted(one.tag, _NAME)} | {quoted(one.metric, _NAME)} | {phrasing.figure(judgement.base, unit)} "
        f"| {phrasing.figure(judgement.head, unit)} | {phrasing.interval(judgement, unit)} | {judgement.cases} "
        f"| {judgement.verdict} |"
        for one in comparison.slices
        for judgement, unit in ((one.judgement, _unit(comparison, one.metric)),)
    ]
    head_of_slices = "| tag | metric | base | head | interval | cases | verdict |\n|---|---|--:|--:|:-:|--:|---|"
    page.table(f"{len(slices)} slices by tag", head_of_slices, slices)
    labels = [
        f"| {_short(label.name)} | {_short(old)} → {_short(new)} | {len(ids)} | {quoted(some(ids))} |"
        for label in comparison.labels
        for old, new, ids in label.changes
    ]
    page.table(f"{len(labels)} changes of labels", "| label | change | cases | which |\n|---|---|--:|---|", labels)
    parts = [
        f"| {quoted(name, _NAME)} | {quoted(old[:16])} | {quoted(new[:16]) if new != old else 'the same'} |"
        for name, old, new in parts_of(base, head)
    ]
    page.table("what was compared", "| part | base | head |\n|---|---|---|", parts)
    if detectable := _detectable(comparison):
        page.add(detectable)


def _unit(comparison: Comparison, name: str) -> str:
    return next(metric.unit for metric in comparison.metrics if metric.name == name)


def _detectable(comparison: Comparison) -> str:
    """What would have gone unseen."""
    shown = [
        f"{quoted(metric.name, _NAME)} {phrasing.figure(metric.judgement.detectable, metric.unit)}"
        for metric in comparison.deciding
        if metric.judgement.detectable is not None
    ]
    power = f"{comparison.policy.power * 100:.3g} %"
    return f"Differences that would have been found with a chance of {power}: {some(shown, 12)}." if shown else ""
