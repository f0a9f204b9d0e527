"""comment.md: the comparison for a pull request comment and a job summary; what matters most comes first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sluice.core.html_theme import page_environment
from sluice.evaluation.comparison_result import CaseChange, Comparison
from sluice.evaluation.paired_cases import CaseResult, some
from sluice.evaluation.reports import phrasing
from sluice.evaluation.reports.phrasing import ComparedVersion, clipped, parts_of, preformatted, quoted

# GitHub takes 65,536 characters; bytes are never fewer. The rest is for a marker and a link that come with posting.
LIMIT = 64_000
_SHOWN_REASONS = 5
_SHOWN_CASES = 3
_TEMPLATES = Path(__file__).parent / "templates"


class _CommentBlocks:
    """Blocks of Markdown that fit in the limit; one that doesn't is left out and counted."""

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
        """Add a folded table of as many rows as fit in a share of the room; say how many there are besides."""
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
    environment = page_environment(_TEMPLATES)
    environment.filters |= {"code": _code, "plain": _plain}
    words = {"words": phrasing, "moved": _moved, "some": some}
    pieces: Any = environment.get_template("comment.md.j2", globals=words).module
    page = _CommentBlocks(limit - 100)
    page.add(f"## {phrasing.MARKS[comparison.verdict]} {_plain(phrasing.title(comparison))}")
    page.add(_plain(phrasing.sentence(comparison), 1200))
    if comparison.stopped:
        page.add(_plain(comparison.stopped, 600))
    for warning in comparison.warnings[:_SHOWN_REASONS]:
        page.add(_plain(warning, 600))
    if comparison.reasons:
        page.add(pieces.not_green(comparison.reasons, _SHOWN_REASONS).rstrip())
    if comparison.left_out:
        page.add(_plain(f"Not compared here: {', '.join(comparison.left_out)}.", 1200))
    page.add(f"{_code(head.title)} against {_code(base.title)}")
    page.add("\n".join([pieces.metric_head, *map(pieces.metric_row, phrasing.ordered(comparison.deciding))]))
    page.add(_plain(phrasing.time_and_spending(comparison, base, head), 600))
    _cases(page, pieces, comparison)
    informing = phrasing.ordered(metric for metric in comparison.metrics if metric.decides == "never")
    page.table(f"{len(informing)} informational metrics", pieces.metric_head, map(pieces.metric_row, informing))
    for prompt in prompts:
        page.add(pieces.prompt_change(prompt, _messages(prompt)))
    units = {metric.name: metric.unit for metric in comparison.metrics}
    slices = [pieces.slice_row(one, units[one.metric]) for one in comparison.slices]
    page.table(f"{len(slices)} slices by tag", pieces.slice_head, slices)
    labels = [pieces.label_row(label.name, *change) for label in comparison.labels for change in label.changes]
    page.table(f"{len(labels)} label changes", pieces.label_head, labels)
    parts = [pieces.part_row(*part) for part in parts_of(base, head)]
    page.table("compared parts", pieces.part_head, parts)
    if found := [metric for metric in comparison.deciding if metric.judgement.detectable is not None]:
        page.add(pieces.detectable(found, comparison.policy.power))
    if page.left_out:
        page.add(f"_{page.left_out} sections did not fit and are in the report._")
    return page.text()


def _code(text: Any, length: int = 60) -> Markup:
    return Markup(quoted(str(text), length))


def _plain(text: str, length: int = 200) -> Markup:
    """Escape every sign that Markdown or GitHub reads."""
    shown = clipped(text, length)
    return Markup("".join(f"&#{ord(sign)};" if sign in "\\`*_{}[]<>#|~@&" else sign for sign in shown))


def _cases(page: _CommentBlocks, pieces: Any, comparison: Comparison) -> None:
    """Add the worst and best few in the open, then the other broken, unanswered and fixed ones."""
    counts, ends = comparison.status_counts, _ends(comparison.cases)
    named = {change.id for chosen in ends for change in chosen}
    shown = [change for change in comparison.cases if change.status not in ("changed", "same") or change.id in named]
    rows = {one.id: pieces.case_row(one, *_answers(one.pair.base, one.pair.head)) for one in shown}
    for word, status, chosen in zip(("Worst", "Best"), ("broken", "fixed"), ends, strict=True):
        if chosen:
            title = f"**{word} {len(chosen)}**, of {counts.get(status, 0)} {status}\n"
            page.add("\n".join([title, pieces.case_head, *(rows.pop(change.id) for change in chosen)]))
    found: dict[str, list[str]] = {}
    for change in shown:
        if change.id in rows:
            found.setdefault(change.status, []).append(rows[change.id])
    for status, more in found.items():
        others = "more " * any(change.status == status for chosen in ends for change in chosen)
        share = 0.4 if status not in ("broken", "fixed") else 0.5
        page.table(f"{len(more)} {others}{status}", pieces.case_head, more, at_most=share)


def _ends(cases: Sequence[CaseChange]) -> tuple[list[CaseChange], list[CaseChange]]:
    """Return the cases that lost most, broken ones first, and those that gained most, fixed ones first."""
    worst = [one for one in cases if one.status == "broken" or (one.status != "fixed" and one.gain < 0)]
    best = [one for one in cases if one.status == "fixed" or (one.status != "broken" and one.gain > 0)]
    best.sort(key=lambda one: (one.status != "fixed", -one.gain))
    return worst[:_SHOWN_CASES], best[:_SHOWN_CASES]


def _moved(change: CaseChange) -> Markup:
    """Show the metrics that flipped; else the first two that moved; where none did, the first errors."""
    signs = dict.fromkeys(change.broken, "✕ ") | dict.fromkeys(change.fixed, "✓ ")
    moved = [one for one in change.changes if one[0] in signs] or change.changes[:2]
    marks = [f"{signs.get(name, '')}{_code(name)} {old:.3g} → {new:.3g}" for name, old, new in moved]
    errors = [_code(f"{name}: {text}", 200) for name, text in list(change.pair.case.errors.items())[:2]]
    return Markup("<br>".join([*(marks[:6] or errors), *(_code(note, 200) for note in change.notes)]))


def _answers(base: CaseResult | None, head: CaseResult | None) -> tuple[str, str]:
    """Return the answers of the first trial in which they differ, else of the first."""
    old, new = base.answers if base else (None,), head.answers if head else (None,)
    place = next((n for n, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), 0)
    return old[place] or "", new[place] or ""


def _messages(prompt: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Return role and text of each message that changed, as removed and added words."""
    found = []
    for message in prompt.get("messages") or ():
        pieces = [(str(kind), str(text)) for kind, text in message["pieces"]]
        if message["base_role"] != message["head_role"] or any(kind != " " for kind, _ in pieces):
            shown = [
                (kind, text if kind != " " or len(text) <= 160 else f"{text[:70]} […] {text[-70:]}")
                for kind, text in pieces
            ]
            found.append((str(message["head_role"] or message["base_role"]), Markup(preformatted(shown))))
    return found
