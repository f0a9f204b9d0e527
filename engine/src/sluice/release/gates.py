"""Figures against limits: every pass/fail decision except "is it worse?", which evaluation/comparison.py answers.

A missing result never passes: no gates, a missing metric, too few samples, NaN, a crashed evaluator. Locust imports
this module, so its imports stay light."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sluice.core.errors import GateFailed, SluiceError, ValidationErrors
from sluice.core.settings import Settings, load_settings, read_yaml
from sluice.release.verdict import Verdict

Stage = Literal["evaluation", "load", "analysis", "calibration", "index", "redteam"]
Direction = Literal["at_least", "at_most"]
Reference = Literal["none", "champion", "stable"]
Compare = Literal["value", "difference", "ratio"]

# What a stage can be compared with: the times of the champion's stored evaluation, or stable measured in the same load
# run or by the same Prometheus. A judge is compared with people inside its figure, the search of an index with an exact
# scan; attacks that succeed are too many by themselves.
_REFERENCES: dict[Stage, tuple[Reference, ...]] = {
    "evaluation": ("none", "champion"),
    "load": ("none", "stable"),
    "analysis": ("none", "stable"),
    "calibration": ("none",),
    "index": ("none",),
    "redteam": ("none",),
}
_CASES_IN_VERDICT = 10
_CASES_IN_REASON = 5
# Differences of decimal fractions are off by about 1e-17; a figure that equals the limit must pass.
_DIGITS = 9

Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Severity = Literal["refuse", "warn"]


class Gate(Settings):
    """One rule: `compare` of the figure (against `relative_to`) must be `direction` `limit`. With `severity: warn` it
    refuses nothing, and `metric: right_*` is each metric whose name begins so."""

    name: Word
    stage: Stage
    metric: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\*?$")]
    direction: Direction
    limit: float = Field(allow_inf_nan=False)
    relative_to: Reference
    compare: Compare
    min_samples: int = Field(ge=1)
    severity: Severity = "refuse"

    @model_validator(mode="after")
    def _consistent(self) -> Gate:
        if self.relative_to == "none" and self.compare != "value":
            raise _fault(f"compare: {self.compare} needs something to compare with, but relative_to is none")
        if self.relative_to != "none" and self.compare == "value":
            raise _fault(f"relative_to: {self.relative_to} needs compare: difference or compare: ratio, found value")
        if self.relative_to not in (known := _REFERENCES[self.stage]):
            raise _fault(f"stage {self.stage} can be relative to {' or '.join(known)}, not to {self.relative_to}")
        if self.relative_to == "champion" and not self.metric.endswith("_ms"):
            # Another rule about the same answers could refuse at release what a pull request was told is not worse.
            raise _fault(f"only times are held against the champion; whether {self.metric} is worse, comparison: says")
        if self.compare == "ratio" and self.limit <= 0:
            raise _fault(f"the limit of a ratio must be above 0, found {self.limit:g}")
        if self.severity == "warn" and (self.stage, self.relative_to) != ("evaluation", "none"):
            raise _fault("severity: warn is for figures of the stage evaluation, relative to none")
        return self


def _fault(what: str) -> PydanticCustomError:
    # A plain ValueError would be shown with pydantic's own prefix; the text goes through context so that braces stay.
    return PydanticCustomError("gate", "{what}", {"what": what})


class GatesFile(Settings):
    """config/gates.yaml; the comparison reads `comparison`."""

    gates: tuple[Gate, ...]
    comparison: Any = None


@dataclass(frozen=True)
class Measurement:
    """A measured metric; `cases` are the worst, worst first. Without a value, nothing could be scored."""

    value: float | None
    samples: int
    errors: int = 0
    cases: tuple[str, ...] = ()


def load_gates(path: Path, severity: Severity = "refuse") -> tuple[Gate, ...]:
    gates = load_settings(path, GatesFile).gates
    if not gates:
        raise SluiceError(f"{path}: the list of gates is empty", remedy="nothing may be released without a gate")
    count = Counter(gate.name for gate in gates)
    _, lines = read_yaml(path)
    faults = [
        f"{path}:{lines.get(('gates', number, 'name'), 1)}: gates.{number}.name: {gate.name!r} is used more than once"
        for number, gate in enumerate(gates)
        if count[gate.name] > 1
    ]
    if faults:
        raise ValidationErrors(str(path), faults, remedy="give each gate its own name")
    return tuple(gate for gate in gates if gate.severity == severity)


def decide(
    gates: Sequence[Gate], stage: Stage, figures: Mapping[str, Measurement], reference: Mapping[str, Measurement] | None
) -> list[Verdict]:
    """Return one verdict for each gate of a stage, in file order; a failed one if the stage has no gate."""
    chosen = [gate for gate in gates if gate.stage == stage]
    if not chosen:
        reason = f"no gate is defined for stage {stage}; nothing was checked, so nothing passes"
        return [Verdict.unjudged(f"{stage}_gates", reason)]
    return [_decide_one(gate, figures.get(gate.metric), reference) for gate in chosen]


def _decide_one(gate: Gate, figure: Measurement | None, reference: Mapping[str, Measurement] | None) -> Verdict:
    other = (reference or {}).get(gate.metric) if gate.relative_to != "none" else None
    fault = _fault_of_figure(gate, figure, "") or _fault_of_reference(gate, reference, other)
    passed, finding = (False, fault) if fault or figure is None else _compare(gate, figure, other)
    cases = () if passed or figure is None else figure.cases[:_CASES_IN_VERDICT]
    reason = f"gate {gate.name}: {finding}; limit: {limit_text(gate)}"
    if cases:
        reason += f"; worst cases: {', '.join(cases[:_CASES_IN_REASON])}"
    return Verdict(
        gate=gate.name,
        metric=gate.metric,
        passed=passed,
        figure=_finite(figure),
        limit=gate.limit,
        reference=_finite(other),
        samples=figure.samples if figure else 0,
        reason=reason,
        cases=cases,
    )


def _fault_of_figure(gate: Gate, figure: Measurement | None, whose: str) -> str:
    """Return why a figure can't be judged. `whose`: empty for the candidate, else champion or stable."""
    name = f"{gate.metric} of {whose}" if whose else gate.metric
    if figure is None:
        return f"{name} was not measured"
    if figure.errors > 0:
        return f"{name} could not be computed for {figure.errors} samples (the evaluator failed on them)"
    if figure.value is None:
        return f"{name} has no value ({figure.samples} samples)"
    if not math.isfinite(figure.value):
        return f"{name} is {figure.value}, not a finite number"
    if figure.samples < gate.min_samples:
        shown = number(figure.value)
        return f"{name} is {shown}, but rests on {figure.samples} samples, at least {gate.min_samples} are needed"
    return ""


def _fault_of_reference(gate: Gate, reference: Mapping[str, Measurement] | None, other: Measurement | None) -> str:
    if gate.relative_to == "none":
        return ""
    if reference is None:
        return f"{gate.metric} is judged against {gate.relative_to}, but there are no results of {gate.relative_to}"
    if fault := _fault_of_figure(gate, other, gate.relative_to):
        return fault
    if gate.compare == "ratio" and other is not None and other.value is not None and other.value <= 0:
        return f"{gate.metric} of {gate.relative_to} is {other.value:g}, a ratio to it means nothing"
    return ""


def _compare(gate: Gate, figure: Measurement, other: Measurement | None) -> tuple[bool, str]:
    value = figure.value or 0.0
    shown = f"{gate.metric} is {number(value)}"
    judged = value
    if other is not None:
        base = other.value or 0.0
        judged = value - base if gate.compare == "difference" else value / base
        how = f"{judged:+.4f}" if gate.compare == "difference" else f"{judged:.2f} times"
        shown += f" against {number(base)} of {gate.relative_to} ({how})"
    judged = round(judged, _DIGITS)
    return (judged >= gate.limit if gate.direction == "at_least" else judged <= gate.limit), shown


def limit_text(gate: Gate) -> str:
    words = gate.direction.replace("_", " ")
    if gate.compare == "value":
        return f"{words} {gate.limit:g}"
    if gate.compare == "difference":
        return f"{words} {gate.relative_to} {gate.limit:+g}"
    return f"{words} {gate.limit:g} times {gate.relative_to}"


def number(value: float) -> str:
    """Format with four significant digits, without an exponent for everyday sizes."""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def _finite(figure: Measurement | None) -> float | None:
    # Verdicts go into canonical JSON, which has no NaN.
    return figure.value if figure and figure.value is not None and math.isfinite(figure.value) else None


def require(verdicts: Sequence[Verdict]) -> None:
    """Raise GateFailed with every failed verdict; no verdicts fail too."""
    if not verdicts:
        raise GateFailed("no gate was decided; nothing was checked, so nothing passes")
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if failed:
        lines = "\n".join(f"  {verdict.reason}" for verdict in failed)
        raise GateFailed(
            f"refused by {len(failed)} of {len(verdicts)} gates\n{lines}",
            remedy="fix the change; the limits are in config/gates.yaml",
        )
