"""Drift of live traffic from the evaluation set: means between 0 and 1, compared by Welch's t-test and difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field

from sluice.core.atomic_files import read_jsonl
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings, load_settings
from sluice.core.text import table
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows
from sluice.evaluation.comparison_result import RIGHT
from sluice.evaluation.paired_cases import scores_of
from sluice.extras.datakit.traffic import Exchange, open_embedder

NO_QUESTIONS = "questions are not recorded: `traces.contents` in config/telemetry.yaml is off"
NO_SCORES = "retrieval scores of the evaluation set need build/index and the embedder: `sluice index build`"
NO_CASES = "declines and right answers of the evaluation set need build/evaluation/cases.jsonl: `sluice evaluate`"


class DriftPolicy(Settings):
    """`drift:` of config/gates.yaml. A mean has shifted if both p is below `p_value` and the difference is at least
    `difference`, with at least `min_samples` on each side."""

    p_value: float = Field(gt=0, lt=0.5)
    difference: float = Field(gt=0, lt=1)
    min_samples: int = Field(ge=5)


class _GatesFile(Settings):
    gates: Any = None
    comparison: Any = None
    drift: DriftPolicy


def load_drift_policy(path: Path) -> DriftPolicy:
    return load_settings(path, _GatesFile).drift


@dataclass(frozen=True)
class MeanShift:
    """A mean of the evaluation set and of traffic; with `higher_is_fine`, only a fall is a shift."""

    name: str
    base: Sequence[float]
    head: Sequence[float]
    higher_is_fine: bool = False

    def as_dict(self, policy: DriftPolicy) -> dict[str, Any]:
        change = fmean(self.head) - fmean(self.base)
        means = [round(fmean(values), 3) for values in (self.base, self.head)]
        samples = [len(self.base), len(self.head)]
        p, verdict = None, "too few"
        if min(samples) >= policy.min_samples:
            p = float(f"{self._p():.3g}")
            small = abs(change) < policy.difference or (self.higher_is_fine and change >= 0)
            verdict = "steady" if small or p >= policy.p_value else "shifted"
        return {"name": self.name, "verdict": verdict, "p": p, "means": means, "samples": samples}

    def _p(self) -> float:
        from scipy.stats import ttest_ind

        if len({*self.base}) == 1 == len({*self.head}):  # no spread, where the test says nothing
            return float(fmean(self.base) == fmean(self.head))
        return float(ttest_ind(self.base, self.head, equal_var=False).pvalue)


def page(figures: Mapping[str, Any]) -> str:
    """Return a report as Markdown, without any text of a user."""
    head = ["mean of", "verdict", "p", "evaluation set", "traffic", "samples of the set", "of the traffic"]
    rows = [
        [shift["name"], shift["verdict"], *map(str, (shift["p"], *shift["means"], *shift["samples"]))]
        for shift in figures["shifts"]
    ]
    count = f"{len(figures['shifted'])} of {len(rows)} means have shifted, in {figures['exchanges']} exchanges."
    notes = "".join(f"- Not compared: {note}\n" for note in figures["notes"])
    return f"# Traffic against the evaluation set\n\n{count}\n\n{table(head, rows)}\n{notes}"


def measure(workspace: Workspace, traffic: Sequence[Exchange], policy: DriftPolicy) -> dict[str, Any]:
    """Return the drift of traffic from data/eval.jsonl; `notes` says what could not be compared."""
    rows = load_rows(workspace.data / "eval.jsonl")
    file = workspace.build / "evaluation" / "cases.jsonl"
    cases = read_jsonl(file) if file.is_file() else []
    asked = [exchange.question for exchange in traffic if exchange.question]
    shifts: list[MeanShift] = []
    notes = [] if asked else [NO_QUESTIONS]
    try:
        with open_embedder(workspace) as embed:
            own = embed([row.question for row in rows])
            if asked:
                # Nearer than evaluation questions are to each other is what the evaluation set is there for.
                near = list(map(float, (embed(asked) @ own.T).max(axis=1)))
                shifts.append(MeanShift("nearness to an evaluation question", _nearest_other(rows, own), near, True))
        similarities = _similarities(workspace.build / "index", own)
    except SluiceError:
        similarities = []
    found = [exchange.similarity for exchange in traffic if exchange.similarity is not None]
    shifts.append(MeanShift("similarity of the nearest passage", similarities, found))
    shifts += _outcomes(cases, traffic)
    notes += ([] if similarities else [NO_SCORES]) + ([] if cases else [NO_CASES])
    means = [shift.as_dict(policy) for shift in shifts if shift.base and shift.head]
    shifted = [mean["name"] for mean in means if mean["verdict"] == "shifted"]
    return {"exchanges": len(traffic), "shifted": shifted, "shifts": means, "notes": notes}


def _similarities(index: Path, questions: Any) -> list[float]:
    if not (index / "index.json").is_file():
        return []
    from sluice.retrieval.index_files import read_index

    _, _, vectors = read_index(index)
    return list(map(float, (questions @ vectors.T).max(axis=1)))


def _nearest_other(rows: Sequence[Row], vectors: Any) -> list[float]:
    """Return each question's cosine to the nearest one about other documents: those of one were written together."""
    cosines = vectors @ vectors.T
    for place, row in enumerate(rows):
        same = [other == place or bool(set(row.doc_ids) & set(rows[other].doc_ids)) for other in range(len(rows))]
        cosines[place, same] = -1.0
    return [float(value) for value in cosines.max(axis=1)]


def _outcomes(cases: Sequence[Mapping[str, Any]], traffic: Sequence[Exchange]) -> list[MeanShift]:
    answered = [case for case in cases if case.get("status", "answered") == "answered"]
    right = [float(score >= RIGHT) for case in answered if (score := scores_of(case).get("f1")) is not None]
    liked = [float(exchange.feedback >= RIGHT) for exchange in traffic if exchange.feedback is not None]
    declined = [float(exchange.declined) for exchange in traffic if not exchange.blocked]
    return [
        MeanShift("declined", [float(case["declined"]) for case in answered], declined),
        MeanShift("good answers, by F1 and by feedback", right, liked),
    ]
