"""Recomputes a release's scores from its answers, figures from scores, and verdicts from figures, offline."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache as once
from functools import partial
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json, read_jsonl
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows
from sluice.evaluation.evaluate_stage import metrics_digest
from sluice.evaluation.registry import Metric, MetricBatcher, MetricResources, make_metrics
from sluice.evaluation.runner import rescore, run_metrics
from sluice.evaluation.summary import cases_digest, flat_figures, summarise
from sluice.llm.model_files import ensure, load_models
from sluice.release.decision import decide_release
from sluice.release.manifest import JUDGING_CASES, JUDGING_GATES, load_judgement
from sluice.release.staging import CHAMPION_CASES, CHAMPION_SUMMARY
from sluice.release.verdict import JUDGEMENT, Judgement
from sluice.release.verification import VerificationResult
from sluice.retrieval.embedder import Embedder

_CASES, _SUMMARY, _FIGURES = (f"evaluation/{name}" for name in ("cases.jsonl", "summary.json", "metrics.json"))
_KINDS = ("scores", "labels", "assertions", "errors")  # of a case
_SUMMARISED = ("metrics", "labels", "assertions")
_SAME = 1e-9
_TENTH_MS = 0.051  # a record holds times to a tenth of a millisecond, scores hold them whole
_MODELS_SAME = 1e-3  # what another processor may make of the same vectors
_SHOWN = 12


def recompute(workspace: Workspace, folder: Path) -> list[VerificationResult]:
    try:
        return _recompute(workspace, folder, load_judgement(folder))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        where = f"{folder / 'evaluation'}: not the records of an evaluation ({error!r})"
        raise SluiceError(where, remedy="`sluice release verify` names the file that was changed") from error


def _recompute(workspace: Workspace, folder: Path, judgement: Judgement) -> list[VerificationResult]:
    summary, cases = read_json(folder / _SUMMARY), read_jsonl(folder / _CASES)
    known = {row.id: row for row in load_rows(folder / JUDGING_CASES)}
    if faults := _faults_of_rows(judgement, summary, cases, known):
        return [_result("rows", "", faults)]  # nothing can be scored against other rows
    rows = [known[name] for name in dict.fromkeys(case["id"] for case in cases)]
    found = [_result("rows", f"{len(rows)} rows", [])]
    other_code = summary.get("scored_by") != metrics_digest()
    scored = {name for kind in _SUMMARISED for name in summary.get(kind, {})}
    scored |= {name for case in cases for kind in _KINDS[:3] for name in case.get(kind, {})}
    with _metrics(workspace, folder) as every:
        metrics = tuple(metric for metric in every if metric.name in scored)
        faults, count = _faults_of_scores(rows, cases, metrics)
        found.append(_result("scores", f"{count} of {len(cases)} answers", faults, other_code))
        if absent := sorted(scored - {metric.name for metric in metrics}):
            why = f"{', '.join(absent)}: the judge is not asked, an embedder that is not in the cache not fetched"
            found.append(VerificationResult("scores by models", "not verified", why))
        faults = _faults_of_figures(folder, judgement, summary, summarise(rows, cases, metrics))
    found.append(_result("figures", f"{len(flat_figures(summary))} figures", faults, other_code))
    return [*found, _verdicts(folder, judgement, other_code)]


@contextmanager
def _metrics(workspace: Workspace, folder: Path) -> Iterator[tuple[Metric, ...]]:
    """Open the metrics that need no judge and no embedder that isn't in the cache."""
    embed = load_models(folder / "config" / "models.yaml").embed
    with ExitStack() as opened:
        vectors = None
        if all(path.is_file() for path in embed.cached(workspace.cache)):
            embedder = once(lambda: opened.enter_context(Embedder(ensure(embed, workspace.cache))))
            vectors = MetricBatcher(lambda texts: embedder().embed(texts))
        yield make_metrics(MetricResources(vectors))


def _faults_of_rows(
    judgement: Judgement, summary: Mapping[str, Any], cases: Sequence[Mapping[str, Any]], known: Mapping[str, Row]
) -> list[str]:
    faults = []
    for case in cases:
        row = known.get(case.get("id", ""))
        if row is None:
            faults.append(f"{_CASES}: row {case.get('id')}: not in {JUDGING_CASES}")
            continue
        wanted = {"question": row.question, "expected": list(row.answers), "tags": list(row.tags)}
        faults += [
            f"{_CASES}: row {row.id}: {key} is not that of {JUDGING_CASES}"
            for key, value in wanted.items()
            if case.get(key) != value
        ]
    if faults:
        return faults
    digest = cases_digest([known[name] for name in dict.fromkeys(case["id"] for case in cases)])
    said = {_SUMMARY: summary.get("cases_digest"), JUDGEMENT: judgement.evaluation.cases_digest}
    return [
        f"{place}: cases_digest is {str(one)[:16]}…, that of the rows is {digest[:16]}…"
        for place, one in said.items()
        if one != digest
    ]


def _faults_of_scores(
    rows: Sequence[Row], cases: Sequence[Mapping[str, Any]], metrics: Sequence[Metric]
) -> tuple[list[str], int]:
    """Compare recorded results with recomputed ones; also return how many answers were scored."""
    again = rescore(cases, rows, partial(run_metrics, metrics=metrics))
    faults = []
    for case, scored in zip(cases, again, strict=True):
        where = f"{_CASES}: row {case['id']}, trial {case.get('trial', 0)}"
        for kind, metric in itertools.product(_KINDS, sorted(metrics, key=lambda metric: metric.name)):
            was, now = case.get(kind, {}), scored.get(kind, {})
            by_model = metric.needs == "model" or metric.resources
            tolerance = _TENTH_MS if metric.needs == "clock" else _MODELS_SAME if by_model else _SAME
            faults += _differing(where, was, now, [metric.name], tolerance=tolerance)
    return faults, sum(case.get("status", "answered") == "answered" for case in cases)


def _faults_of_figures(
    folder: Path, judgement: Judgement, summary: Mapping[str, Any], again: Mapping[str, Any]
) -> list[str]:
    faults = []
    if summary["cases"] != again["cases"]:
        faults.append(f"{_SUMMARY}: cases is {summary['cases']}, there are {again['cases']}")
    for kind in _SUMMARISED:
        for name, figure in again[kind].items():
            faults += _differing(f"{_SUMMARY}: {name}", summary.get(kind, {}).get(name, {}), figure, figure)
    pinned = {name: metric["value"] for name, metric in summary["metrics"].items()}
    for place, said, wanted in (
        (_FIGURES, read_json(folder / _FIGURES), flat_figures(summary)),
        (JUDGEMENT, judgement.evaluation.metrics, pinned),
    ):
        faults += _differing(place, said, wanted, sorted({*said, *wanted}), by=f"{_SUMMARY} has")
    return faults


def _verdicts(folder: Path, judgement: Judgement, other_code: bool) -> VerificationResult:
    if judgement.parent is None and not judgement.gates:
        return VerificationResult("verdicts", "not verified", "the first release is judged by no gate")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            champion = Path(scratch)
            for name, kept in (("summary.json", CHAMPION_SUMMARY), ("cases.jsonl", CHAMPION_CASES)):
                (champion / name).symlink_to((folder / "evaluation" / kept).resolve())
            again = decide_release(folder / JUDGING_GATES, folder / "evaluation", champion)
    except SluiceError as error:
        faults = error.faults if isinstance(error, ValidationErrors) else [error.message.replace("\n", " ")]
        return _result("verdicts", "", faults)
    said, now = ({verdict.gate: verdict.model_dump() for verdict in some} for some in (judgement.gates, again))
    faults = [f"{JUDGEMENT}: gate {name}: not decided by {JUDGING_GATES}" for name in sorted(said.keys() - now)]
    faults += [f"{JUDGEMENT}: gate {name}: missing" for name in sorted(now.keys() - said)]
    for name in sorted(said.keys() & now):
        faults += _differing(f"{JUDGEMENT}: gate {name}", said[name], now[name], now[name])
    return _result("verdicts", f"{len(again)} verdicts", faults, other_code)


def _differing(
    where: str,
    said: Mapping[str, Any],
    now: Mapping[str, Any],
    keys: Iterable[str],
    *,
    tolerance: float = _SAME,
    by: str = "recomputed",
) -> list[str]:
    return [
        f"{where}: {key} is {said.get(key)}, {by} {now.get(key)}"
        for key in keys
        if (key in said) is not (key in now) or not _same(said.get(key), now.get(key), tolerance)
    ]


def _result(what: str, looked_at: str, faults: Iterable[str], other_code: bool = False) -> VerificationResult:
    found = list(faults)
    if not found:
        return VerificationResult(what, "verified", looked_at)
    said = "; ".join(found[:_SHOWN]) + (f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
    if other_code:
        return VerificationResult(what, "not verified", f"scored by other code or libraries than are here: {said}")
    return VerificationResult(what, "failed", said)


def _same(was: Any, now: Any, tolerance: float) -> bool:
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (was, now))
    if numbers and math.isfinite(was) and math.isfinite(now):
        return math.isclose(was, now, rel_tol=_SAME, abs_tol=tolerance)
    if isinstance(was, list | tuple) and isinstance(now, list | tuple):
        return list(was) == list(now)
    return bool(was == now)
