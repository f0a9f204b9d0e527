"""The `evaluate` stage: runs every row of data/eval.jsonl through the application. Runs as `sluice evaluate`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows
from sluice.evaluation.application import open_application
from sluice.evaluation.asked_rows import EvaluateParameters, rows_of
from sluice.evaluation.evaluation_tracking import record_evaluation
from sluice.evaluation.metric_resources import open_metrics
from sluice.evaluation.output import Metric
from sluice.evaluation.recorded_scores import RecordedScores, metrics_digest, scores_digest
from sluice.evaluation.response_cache import ResponseCache, responses_folder
from sluice.evaluation.runner import require_rows, run_cases
from sluice.evaluation.summary import summarise, write_results
from sluice.retrieval.stores import Stores
from sluice.serving.release_parts import ReleaseBundle, require_prompt


class BundleEvaluation(Protocol):
    """Ask the application some rows and score the answers; return the records of runner.run_cases."""

    def __call__(
        self, rows: Sequence[Row], on_progress: Callable[[int, int], None] = lambda *_: None
    ) -> list[dict[str, Any]]: ...


@contextmanager
def open_evaluation(
    workspace: Workspace, bundle: ReleaseBundle, *, replay: bool = False
) -> Iterator[tuple[BundleEvaluation, tuple[Metric, ...]]]:
    """Open the application and its metrics; they stay open between calls.

    A prompt whose temperature is 0 is asked once: it would only repeat itself. `replay`: answers come out of the cache
    only, what is not there has the status `not_evaluated`.
    """
    parameters = load_params(workspace.params, "evaluate", EvaluateParameters)
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    cache = ResponseCache(responses_folder(workspace.state))
    sampled = require_prompt(bundle).parameters.temperature > 0
    open_it = partial(open_application, bundle, stores, workspace.state, cache=cache, replay=replay)
    with (
        asyncio.Runner() as loop,
        open_it(workers=parameters.workers) as application,
        open_metrics(bundle, cache, replay=replay) as metrics,
    ):
        score = RecordedScores(cache, metrics, scores_digest(bundle, application.model_digest))

        def ask(rows: Sequence[Row], on_progress: Callable[[int, int], None] = lambda *_: None) -> list[dict[str, Any]]:
            return loop.run(
                run_cases(
                    rows,
                    application,
                    metrics,
                    concurrency=application.concurrency,
                    trials=parameters.trials if sampled else 1,
                    on_progress=on_progress,
                    score=score,
                )
            )

        yield ask, metrics


def run(workspace: Workspace, bundle: ReleaseBundle, out: Path) -> dict[str, Any]:
    """Evaluates a bundle with the checkout's rows, writes the result files to the folder `out`, and records them."""
    rows = rows_of(workspace)
    require_rows(rows)
    with open_evaluation(workspace, bundle) as (ask, metrics):
        cases = ask(rows, partial(StageReporter("evaluate").report, note="cases"))
    summary = write(out, rows, cases, metrics, planned=len(rows))
    record_evaluation(workspace, bundle, summary, out)
    return summary


def follow(workspace: Workspace, bundle: ReleaseBundle, files: Iterable[str], *, replay: bool = False) -> None:
    """Evaluates a bundle with the rows of each file, as the names come; the results lie beside the file."""
    with open_evaluation(workspace, bundle, replay=replay) as (ask, metrics):
        for path in map(Path, files):
            rows = load_rows(path)
            cases = ask(rows, partial(StageReporter("evaluate").report, note="cases"))
            write(path.parent, rows, cases, metrics, planned=len(rows))


def write(
    folder: Path, rows: Sequence[Row], cases: Sequence[dict[str, Any]], metrics: Sequence[Metric], *, planned: int
) -> dict[str, Any]:
    """Write the result files of the rows that were asked, out of `planned` rows; return the summary."""
    recorded = sum(bool(case.get("recorded")) for case in cases)
    summary = summarise(rows, cases, metrics) | {
        "planned": planned,
        "recorded": recorded,
        "scored_by": metrics_digest(),
    }
    write_results(folder, summary, cases)
    return summary
