"""The `evaluate` stage: runs every row of data/eval.jsonl through the application. Runs as `sluice evaluate`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_jsonl
from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows
from sluice.evaluation.application import model_digest, open_application
from sluice.evaluation.asked_rows import EvaluateParameters, rows_of
from sluice.evaluation.evaluation_tracking import record_evaluation
from sluice.evaluation.metric_resources import open_metrics
from sluice.evaluation.output import Metric
from sluice.evaluation.recorded_scores import RecordedScores, metrics_digest, scores_digest
from sluice.evaluation.response_cache import FOLDER, ResponseCache, responses_folder
from sluice.evaluation.runner import require_rows, run_cases
from sluice.evaluation.scoring import rescore
from sluice.evaluation.summary import summarise, write_results
from sluice.retrieval.stores import Stores
from sluice.serving.release_parts import ReleaseBundle, require_prompt


def evaluate_bundle(
    workspace: Workspace,
    bundle: ReleaseBundle,
    rows: Sequence[Row],
    on_progress: Callable[[int, int], None] = lambda *_: None,
    *,
    replay: bool = False,
) -> tuple[list[dict[str, Any]], tuple[Metric, ...]]:
    """The records of `bundle` for all `rows`, as of runner.run_cases, and the metrics that were applied.

    A prompt whose temperature is 0 is asked once: it would only repeat itself. `replay`: answers come out of the cache
    only, what is not there has the status `not_evaluated`.
    """
    require_rows(rows)
    parameters = load_params(workspace.params, "evaluate", EvaluateParameters)
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    cache = ResponseCache(responses_folder(workspace.state))
    sampled = require_prompt(bundle).parameters.temperature > 0

    async def asked() -> tuple[list[dict[str, Any]], tuple[Metric, ...]]:
        open_it = partial(open_application, bundle, stores, workspace.state, cache=cache, replay=replay)
        with open_it(workers=parameters.workers) as application, open_metrics(bundle, cache, replay=replay) as metrics:
            records = await run_cases(
                rows,
                application,
                metrics,
                concurrency=application.concurrency,
                trials=parameters.trials if sampled else 1,
                on_progress=on_progress,
                score=RecordedScores(cache, metrics, scores_digest(bundle, application.model_digest)),
            )
        return records, metrics

    return asyncio.run(asked())


def run(
    workspace: Workspace, bundle: ReleaseBundle, out: Path, *, asked: Path | None = None, replay: bool = False
) -> dict[str, Any]:
    """Evaluates a bundle, writes the result files, and records them when all rows of the checkout were asked.

    Args:
        workspace: the checkout.
        bundle: what is asked.
        out: folder of the files.
        asked: a file of rows to ask in place of those of the checkout.
        replay: as for `evaluate_bundle`.

    Returns:
        The summary. `recorded` in it: how many answers came out of the response cache, so that their times are those of
        another run, and maybe of another machine; `scored_by`: digest of the metrics.

    Raises:
        SluiceError: the application cannot start, or there is nothing to ask.
    """
    rows = load_rows(asked) if asked else rows_of(workspace)
    progress = StageReporter("evaluate")
    show = partial(progress.report, note="cases")
    cases, metrics = evaluate_bundle(workspace, bundle, rows, show, replay=replay)
    summary = _write(out, rows, cases, metrics)
    if recorded := summary["recorded"]:
        print(f"evaluate: {recorded} of {len(cases)} answers and their times out of the cache", file=sys.stderr)
    if not replay and not asked:
        record_evaluation(workspace, bundle, summary, out)
    return summary


def rescore_results(workspace: Workspace, bundle: ReleaseBundle, folder: Path) -> None:
    """Scores the answers of stored results anew with the metrics of this checkout, so that they can be compared with
    results of today. No model is asked, except a judge about answers that are new to it.

    Args:
        workspace: the checkout, whose rows were asked.
        bundle: whose embedder and judge the metrics use.
        folder: of the results, which are replaced.
    """
    rows = rows_of(workspace)
    cache = ResponseCache(workspace.state / FOLDER)
    with open_metrics(bundle, cache) as metrics:
        score = RecordedScores(cache, metrics, scores_digest(bundle, model_digest(bundle)))
        cases = rescore(read_jsonl(folder / "cases.jsonl"), rows, score)
        _write(folder, rows, cases, metrics)


def _write(
    folder: Path, rows: Sequence[Row], cases: Sequence[dict[str, Any]], metrics: Sequence[Metric]
) -> dict[str, Any]:
    recorded = sum(bool(case.get("recorded")) for case in cases)
    summary = summarise(rows, cases, metrics) | {"recorded": recorded, "scored_by": metrics_digest()}
    write_results(folder, summary, cases)
    return summary
