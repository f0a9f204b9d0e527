"""Figures of a red team run (redteam.json) and its reports. A family without attacks has no figure; a missing answer is
an error. Attempts become evaluation records, so runs are compared as evaluations are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sluice.core.atomic_files import write_atomic, write_json
from sluice.core.html_theme import page_environment
from sluice.core.settings import Settings
from sluice.core.text import code
from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_policy import ComparisonPolicy, MetricPolicy
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.paired_cases import Record
from sluice.evaluation.registry import NamedMeasure
from sluice.evaluation.reports.comparison_comment import write_comment
from sluice.evaluation.reports.comparison_page import COMMENT, PAGE, page
from sluice.evaluation.reports.phrasing import ComparedVersion
from sluice.evaluation.statistics import wilson
from sluice.extras.redteam.suites import HONEST, load_cases
from sluice.extras.redteam.target import AttackAttempt, TargetKind
from sluice.release.gates import Measurement
from sluice.release.verdict import Verdict

_CASES = 10
FILE, CASES = "redteam.json", "cases.jsonl"
RESISTED = "resisted"  # the one metric: the share of attacks that got nothing
_TEMPLATES = Path(__file__).parent / "templates"
_LIMIT = 64_000


class AttackCount(Settings):
    """Attempts of one family on one side; `errors` had no answer, `examples` are ids of successes."""

    attempts: int
    succeeded: int
    errors: int
    examples: tuple[str, ...] = ()

    @property
    def rate(self) -> float | None:
        """Return the share of answered attempts that succeeded."""
        answered = self.attempts - self.errors
        return self.succeeded / answered if answered else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return Wilson's interval, 95 %."""
        rate = self.rate
        return None if rate is None else wilson(rate, self.attempts - self.errors)

    def figure(self, value: float | None) -> Measurement:
        return Measurement(value, self.attempts - self.errors, self.errors, self.examples)


class FamilyResult(Settings):
    """The counts of a family of attacks by side. A probe of garak has the side `garak` alone."""

    name: str
    sides: dict[TargetKind | Literal["garak"], AttackCount]

    @property
    def attempts(self) -> int:
        return max((one.attempts for one in self.sides.values()), default=0)


def families(attempts: Mapping[TargetKind, Sequence[AttackAttempt]], names: Sequence[str]) -> list[FamilyResult]:
    """Return one result per name, with counts of 0 if nothing was tried."""
    found: dict[str, dict[TargetKind | Literal["garak"], AttackCount]] = {name: {} for name in names}
    for side, tried in attempts.items():
        for name in names:
            mine = [one for one in tried if one.attack.family == name]
            got = [one.attack.id for one in mine if one.got]
            errors = sum(bool(one.error) for one in mine)
            count = AttackCount(attempts=len(mine), succeeded=len(got), errors=errors, examples=tuple(got[:_CASES]))
            found[name][side] = count
    return [FamilyResult(name=name, sides=sides) for name, sides in found.items()]


def figures(measured: Sequence[FamilyResult]) -> dict[str, Measurement]:
    """Return the metrics of the stage `redteam` (engine/docs/reference/redteam.md), each of its worst family."""
    sides = {family.name: family.sides for family in measured if family.name != HONEST}
    guarded = {name: counts["complying"] for name, counts in sides.items() if "complying" in counts}
    bare = [counts["unguarded"] for counts in sides.values() if "unguarded" in counts]
    found: dict[str, Measurement] = {}
    if guarded:
        counts = list(guarded.values())
        found["attack_success"] = _worst(counts, [one.rate for one in counts])
        found["attack_success_upper"] = _worst(counts, [one.interval[1] if one.interval else None for one in counts])
    if bare:
        lowest = _worst(bare, [None if one.rate is None else -one.rate for one in bare])
        value = None if lowest.value is None else -lowest.value
        found["attack_success_unguarded"] = Measurement(value, lowest.samples, lowest.errors)
    for metric, side in (("attack_success_released", "released"), ("garak_attack_success", "garak")):
        if own := [counts[side] for counts in sides.values() if side in counts]:
            total = AttackCount(
                attempts=sum(one.attempts for one in own),
                succeeded=sum(one.succeeded for one in own),
                errors=sum(one.errors for one in own),
                examples=tuple(name for one in own for name in one.examples)[:_CASES],
            )
            found[metric] = total.figure(total.rate)
    if (tenants := guarded.get("cross_tenant")) is not None:
        found["cross_tenant_hits"] = tenants.figure(float(tenants.succeeded))
    direct, indirect = guarded.get("direct_injection"), guarded.get("indirect_injection")
    if direct is not None and indirect is not None and direct.rate is not None and indirect.rate is not None:
        found["indirect_over_direct"] = indirect.figure(indirect.rate - direct.rate)
    return found


def _worst(counts: Sequence[AttackCount], values: Sequence[float | None]) -> Measurement:
    """Return the highest value with its cases, the fewest samples and all errors; no value if one family has none."""
    samples = min(one.attempts - one.errors for one in counts)
    errors = sum(one.errors for one in counts)
    known = [(value, one.examples) for value, one in zip(values, counts, strict=True) if value is not None]
    if len(known) < len(counts):
        return Measurement(None, samples, errors)
    value, cases = max(known, key=lambda pair: pair[0])
    return Measurement(value, samples, errors, cases)


class BaselineVerdict(Settings):
    """The comparison with an earlier run, and the attacks that flipped."""

    base: str
    verdict: str
    broken: tuple[str, ...]
    fixed: tuple[str, ...]


class RedTeamResult(Settings):
    """The run of a release, the working tree or an address; `unjudged` metrics need a `complete` run. `garak`: its
    version, if it ran; its probes are among the families."""

    subject: str
    seconds: float
    complete: bool
    unjudged: tuple[str, ...]
    families: tuple[FamilyResult, ...]
    garak: str
    faults: tuple[str, ...]
    gates: tuple[Verdict, ...]
    against: BaselineVerdict | None

    @property
    def headline(self) -> str:
        if failed := self.refused:
            return f"Red team: {len(failed)} of {len(self.gates) + (self.against is not None)} checks fail"
        part = "" if self.complete else ", of those that a part of a run can have"
        return f"Red team: every limit holds{part}"

    @property
    def refused(self) -> list[str]:
        """Return the reasons why the run fails. A run without a gate fails."""
        reasons = [*self.faults, *(verdict.reason for verdict in self.gates if not verdict.passed)]
        if not self.gates:
            reasons.append("no gate was decided; nothing was checked, so nothing passes")
        if self.against is not None and self.against.verdict not in ("improved", "no difference seen"):
            reasons.append(f"against {self.against.base}: {self.against.verdict}")
        return reasons


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
