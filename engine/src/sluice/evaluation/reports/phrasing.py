"""Sentences, figures and escaped text shared by all reports."""

from __future__ import annotations

import html
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sluice.evaluation.comparison_result import Comparison, MetricComparison
from sluice.evaluation.paired_cases import some
from sluice.evaluation.significance import MetricJudgement


@dataclass(frozen=True)
class ComparedVersion:
    """One side of a comparison. `ref`: the branch or release asked for; `commit` is empty for uncommitted files.

    Digests are of what the answers depend on; `cost`: US dollars of the whole evaluation, None when it is not known.
    """

    name: str
    ref: str
    commit: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    index: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    cost: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def title(self) -> str:
        return f"{self.ref} at {self.commit[:12]}" if self.commit else self.ref

    @property
    def parts(self) -> dict[str, str]:
        return {
            **{f"prompt {name}": digest for name, digest in self.prompts.items()},
            "data": self.data,
            "index": self.index,
            **{f"model {role}": digest for role, digest in self.models.items()},
            **{f"config/{name}": digest for name, digest in self.config.items()},
        }


def parts_of(base: ComparedVersion, head: ComparedVersion) -> list[tuple[str, str, str]]:
    """Return (part, base's digest, head's digest), those that differ first."""
    names = list(dict.fromkeys([*base.parts, *head.parts]))
    rows = [(name, base.parts.get(name, ""), head.parts.get(name, "")) for name in names]
    return sorted((row for row in rows if row[1] or row[2]), key=lambda row: row[1] == row[2])


MARKS = {"improved": "✓", "worse": "✕", "no difference seen": "=", "too few cases": "?", "not evaluated": "!"}
_AT_MOST = 4


def title(comparison: Comparison) -> str:
    named = [metric.name for metric in comparison.deciding if metric.verdict == comparison.verdict]
    words = comparison.verdict.capitalize()
    return f"{words}: {some(named, _AT_MOST)}" if named and comparison.verdict in ("worse", "improved") else words


def sentence(comparison: Comparison) -> str:
    parts = [*_moved(comparison, "worse", "Worse"), *_moved(comparison, "improved", "Improved")]
    if not parts:
        parts = ["No deciding metric differs"]
    counts, trials = comparison.status_counts, comparison.trials
    asked = f"{comparison.compared} cases" + (f", each asked {trials} times" if trials > 1 else "")
    parts.append(f"{counts.get('broken', 0)} broken and {counts.get('fixed', 0)} fixed of {asked}")
    if fell := [_fell(metric) for metric in comparison.unsure]:
        parts.append(f"fell by as much as matters, and may be chance: {some(fell, _AT_MOST)}")
    if few := [metric.name for metric in comparison.deciding if metric.verdict == "too few cases"]:
        parts.append(f"too few cases for {some(few, _AT_MOST)}")
    # How sure: for all metrics that decide together, not for each.
    level = f"{comparison.policy.confidence * 100:.4g} %"
    parts.append(f"{level} confidence across all {len(comparison.deciding)} deciding metrics")
    if comparison.cost is None:
        parts.append("cost unknown")
    else:
        base, head = comparison.cost.base * 1000, comparison.cost.head * 1000
        parts.append(f"{figure(head, 'USD')} per 1,000 questions ({signed(head - base, 'USD')})")
    return "; ".join(parts) + "."


def time_and_spending(comparison: Comparison, base: ComparedVersion, head: ComparedVersion) -> str:
    times = [(one.name, one.judgement) for one in comparison.metrics if one.unit == "ms"]
    took = [f"{name} {figure(found.base, 'ms')} → {figure(found.head, 'ms')}" for name, found in times]
    spent = None if base.cost is None or head.cost is None else base.cost + head.cost
    asked = "cost of both runs unknown" if spent is None else f"both runs cost {figure(spent, 'USD')}"
    return "; ".join([*took, asked]) + "."


def figure(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "USD":  # at least cents; small amounts with two digits that count
        return f"${value:,.2f}" if value == 0 or abs(value) >= 0.1 else f"${value:.2g}"
    if unit == "share":
        return f"{value:.3f}"
    shown = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{shown} {unit}" if unit == "ms" else shown


def signed(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    shown = figure(abs(value), unit)
    return ("−" if value < 0 else "+" if value > 0 else "±") + shown


def interval(judgement: MetricJudgement, unit: str) -> str:
    if judgement.low is None or judgement.high is None:
        return "–"
    return f"{signed(judgement.low, unit)} to {signed(judgement.high, unit)}"


def bar(judgement: MetricJudgement) -> dict[str, float] | None:
    """Return the interval on a line with 0 in its middle: left, width, point, smallest that matters, in per cent."""
    if judgement.low is None or judgement.high is None or judgement.difference is None:
        return None
    edge = max(abs(judgement.low), abs(judgement.high), judgement.smallest) or 1.0
    low, high, point = (50 + 48 * value / edge for value in (judgement.low, judgement.high, judgement.difference))
    matters = 48 * judgement.smallest / edge
    return {"low": low, "width": max(high - low, 0.8), "point": point, "matters": matters}


def drawn(judgement: MetricJudgement) -> str:
    """Draw the same line in 21 signs, for Markdown: GitHub shows no picture that is not public."""
    if (found := bar(judgement)) is None:
        return ""
    signs = list("··········│··········")
    first, last, point = (round(at / 5) for at in (found["low"], found["low"] + found["width"], found["point"]))
    signs[first : last + 1] = "━" * (last + 1 - first)
    signs[10] = "┿" if signs[10] == "━" else signs[10]
    signs[point] = "●"
    return "".join(signs)


def ordered(metrics: Iterable[MetricComparison]) -> list[MetricComparison]:
    order: Sequence[str] = ("worse", "improved", "too few cases", "no difference seen")
    return sorted(metrics, key=lambda metric: order.index(metric.verdict))


def _fell(metric: MetricComparison) -> str:
    one, unit = metric.judgement, metric.unit
    seen = f", where a fall below {figure(one.detectable, unit)} can't be seen" if one.detectable is not None else ""
    return f"{metric.name} {figure(one.base, unit)} → {figure(one.head, unit)} ({one.cases} cases{seen})"


def _moved(comparison: Comparison, verdict: str, word: str) -> list[str]:
    shown = [
        f"{one.name} {figure(one.judgement.base, one.unit)} → {figure(one.judgement.head, one.unit)}"
        for one in comparison.deciding
        if one.verdict == verdict
    ]
    return [f"{word}: {some(shown, _AT_MOST)}"] if shown else []


_CASES = 10


def in_the_terminal(comparison: Comparison) -> str:
    lines = [title(comparison), sentence(comparison), *filter(None, [comparison.stopped]), *comparison.warnings, ""]
    for metric in ordered(comparison.deciding):
        judgement, unit = metric.judgement, metric.unit
        base, head = figure(judgement.base, unit), figure(judgement.head, unit)
        lines.append(
            f"{MARKS[metric.verdict]} {metric.name:<22} {base:>9} -> {head:<9} {interval(judgement, unit):<28} "
            f"{judgement.cases:>4} cases  {metric.verdict}"
        )
    lines += ["", *(f"! {reason}" for reason in comparison.reasons)] if comparison.reasons else []
    lines += ["", *(f"~ not compared here: {name}" for name in comparison.left_out)] if comparison.left_out else []
    broken = [case for case in comparison.cases if case.status == "broken"]
    lines += ["", *(f"broken: {case.id}  {case.pair.case.question}" for case in broken[:_CASES])] if broken else []
    if len(broken) > _CASES:
        lines.append(f"broken: {len(broken) - _CASES} more are in the report")
    return "\n".join(lines)


_PUNCTUATION = {ord(sign): f"&#{ord(sign)};" for sign in string.punctuation}
# Joiners that scripts and emoji need; other invisible signs can turn the direction of a line or hide in it.
_JOINERS = "\u200c\u200d"


class _VisibleCharacters(dict[int, str | None]):
    """For str.translate: what is shown in place of a code point; None for nothing."""

    def __missing__(self, code: int) -> str | None:
        sign = chr(code)
        category = unicodedata.category(sign)
        if category == "Cs":
            self[code] = "\ufffd"
        elif sign.isspace() or category == "Cc":
            self[code] = " "
        else:
            self[code] = sign if category != "Cf" or sign in _JOINERS else None
        return self[code]


_SHOWN = _VisibleCharacters()


def printable(text: str) -> str:
    """Drop control and format characters and put the text on one line; lone surrogates become U+FFFD."""
    return " ".join(text.translate(_SHOWN).split())


def clipped(text: str, length: int) -> str:
    """Return at most `length` characters of the printable text, without looking at most of a long one."""
    start = printable(text[: 4 * length])
    shown = start if len(start) > length else printable(text)
    return shown if len(shown) <= length else shown[: length - 1].rstrip() + "…"


def quoted(text: str, length: int = 200) -> str:
    """Return the text as code, with all punctuation as references: GitHub makes no mentions or links inside code."""
    shown = clipped(text, length)
    return f"<code>{shown.translate(_PUNCTUATION)}</code>" if shown else ""


def preformatted(pieces: list[tuple[str, str]]) -> str:
    """Return a block of (kind, text), `-` as removed and `+` as added, as HTML: no Markdown is looked for in it."""
    tags = {"-": "del", "+": "ins"}
    written = []
    for kind, text in pieces:
        lines = "\n".join(printable(line) if line.strip() else "" for line in text.split("\n"))
        lead = " " if text[:1] == " " else ""
        tail = " " if text[-1:] == " " and text.strip(" ") else ""
        inner = html.escape(lead + lines + tail, quote=False)
        written.append(f"<{tags[kind]}>{inner}</{tags[kind]}>" if kind in tags else inner)
    return f"<pre>{''.join(written)}</pre>"
