"""The `evaluate` stage: runs every row of data/eval.jsonl through the application. Runs as `sluice evaluate`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import cache as once
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

import sluice.data
import sluice.evaluation
from sluice.core.atomic_files import read_json, read_jsonl, write_json
from sluice.core.digests import digest_of, digest_of_code, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.extras import HERE, hooks, packages
from sluice.core.git import commit
from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.registry import load_optional
from sluice.core.settings import load_settings
from sluice.core.tracking import log_values, open_tracking, set_globally
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows
from sluice.evaluation.application import open_application
from sluice.evaluation.asked_rows import EvaluateParameters, require_rows, rows_of
from sluice.evaluation.registry import METRICS, Metric, MetricBatcher, MetricResources, Output, make_metrics
from sluice.evaluation.response_cache import ResponseCache, responses_folder
from sluice.evaluation.runner import run_cases, run_metrics
from sluice.evaluation.summary import flat_figures, summarise, write_results
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.stores import Stores
from sluice.serving.release_parts import ReleaseBundle, require_prompt

# Asks the application some rows and scores the answers: (rows, on_progress) -> the records of runner.run_cases.
BundleEvaluation: TypeAlias = Callable[..., list[dict[str, Any]]]


@contextmanager
def open_evaluation(
    workspace: Workspace, bundle: ReleaseBundle, *, replay: bool = False
) -> Iterator[tuple[BundleEvaluation, tuple[Metric, ...]]]:
    """Open the application and its metrics. With `replay`, a case without recorded answer is `not_evaluated`."""
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
    """Evaluate a bundle with the checkout's rows, write the result files to `out`, and record them."""
    rows = rows_of(workspace)
    require_rows(rows)
    with open_evaluation(workspace, bundle) as (ask, metrics):
        cases = ask(rows, partial(StageReporter("evaluate").report, note="cases"))
    summary = write(out, rows, cases, metrics, planned=len(rows))
    record_evaluation(workspace, bundle, summary, out)
    return summary


def follow(workspace: Workspace, bundle: ReleaseBundle, files: Iterable[str], *, replay: bool = False) -> None:
    """Evaluate a bundle with the rows of each file as the names come; write the results beside the file."""
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
    counts = {"planned": planned, "recorded": recorded, "scored_by": metrics_digest()}
    summary = summarise(rows, cases, metrics) | counts
    write_results(folder, summary, cases)
    return summary


@contextmanager
def open_metrics(
    bundle: ReleaseBundle, cache: ResponseCache | None = None, *, replay: bool = False
) -> Iterator[tuple[Metric, ...]]:
    with ExitStack() as opened:
        embedder = once(lambda: opened.enter_context(Embedder(bundle.embedder)))
        vectors = MetricBatcher(lambda texts: embedder().embed(texts))
        judge = None
        if bundle.providers.judge:
            if not (found := hooks("judge")):
                raise SluiceError(
                    f"release {bundle.release}: it has a judge, but this project has left out the extra `calibration`",
                    remedy="empty `judge` in config/providers.yaml, or revert the commit that took the extra out",
                )
            judge = found["calibration"](bundle, opened, cache, replay=replay)
        yield make_metrics(MetricResources(vectors, judge))


class RecordedScores:
    """`run_metrics` behind the cache. Results with an error among them are not kept."""

    def __init__(self, cache: ResponseCache, metrics: Sequence[Metric], digest: str) -> None:
        self._cache = cache
        self._metrics = metrics
        self._digest = digest_of([digest, [(metric.name, metric.version) for metric in metrics]])

    async def __call__(self, row: Row, output: Output) -> dict[str, Any]:
        said = asdict(replace(output, recorded=False))
        key = digest_of({"scores": self._digest, "row": row.as_dict(), "output": said})
        if (kept := self._cache.get(key)) is not None:
            return kept
        found = await run_metrics(row, output, self._metrics)
        if not found["errors"]:
            self._cache.put(key, found)
        return found


def scores_digest(bundle: ReleaseBundle, model_digest: str) -> str:
    embedder = digest_of_file(bundle.embedder)
    return digest_of({"metrics": metrics_digest(), "embedder": embedder, "model": model_digest})


def metrics_digest() -> str:
    """Return a digest over the metrics' code and libraries: results with the same one were scored alike."""
    mine = load_optional(METRICS.packages[-1])
    own = (sluice.evaluation, sluice.data, *([mine] if mine else []))
    of_extras = (HERE / package.split(".")[-2] for package in packages("metrics"))
    code = digest_of_code(*(Path(package.__path__[0]) for package in own), *of_extras)
    libraries: dict[str, str] = {}
    for metric, library in [(name, library) for name, one in METRICS.items() for library in one.libraries]:
        try:
            libraries[library] = version(library)
        except PackageNotFoundError:
            raise SluiceError(
                f"the metric {metric!r} names a library that is not installed: {library}",
                remedy="install it (engine/requirements), or correct `libraries` of the metric",
            ) from None
    return digest_of({"code": code, "libraries": libraries})


EXPERIMENT = "evaluations"
_DIGEST = 36  # characters that MLflow keeps of a dataset's digest


def record_evaluation(workspace: Workspace, bundle: ReleaseBundle, summary: Mapping[str, Any], folder: Path) -> str:
    """Record the result files in `folder` in MLflow, once; return the id of the run.

    Files under `.sluice/evaluations/` say which are there.
    """
    prompts = {name: prompt.digest for name, prompt in bundle.prompts.items()}
    found = {name: value for name, value in summary.items() if name != "recorded"}  # the same result, read again
    identity = digest_of({"release": bundle.release, "prompts": prompts, "figures": found})
    note = workspace.state / "evaluations" / f"{identity}.json"
    if note.is_file():
        return str(read_json(note)["run_id"])
    client, number = open_tracking(workspace, EXPERIMENT)
    # As mlflow.genai.evaluate marks runs; its pages are shown for experiments of this kind.
    client.set_experiment_tag(number, "mlflow.experimentKind", "genai_development")
    tags = {"release": bundle.release, "commit": commit(workspace.root), "mlflow.runType": "genai_evaluate"}
    run_id = str(client.create_run(number, run_name=bundle.release, tags=tags).info.run_id)
    figures = flat_figures(summary) | {"cases": summary["cases"], "recorded": summary.get("recorded", 0)}
    params = {
        **{f"prompt_{name}": digest for name, digest in prompts.items()},
        "service_config": digest_of(bundle.service.model_dump(mode="json")),
        "guardrails_config": digest_of(bundle.guardrails.model_dump(mode="json")),
        "provider": bundle.providers.chat[0].name,
        "provider_model": bundle.providers.chat[0].model,
        "model": bundle.model.stem,
        "adapter": digest_of_file(bundle.adapter) if bundle.adapter else "none",
    }
    log_values(client, run_id, [(key, float(value), 0) for key, value in figures.items() if value is not None], params)
    set_globally(workspace)
    _log_dataset(client, run_id, number, summary, read_jsonl(folder / "cases.jsonl"))
    for file in ("cases.jsonl", "summary.json", "metrics.json"):
        client.log_artifact(run_id, str(folder / file))
    client.set_terminated(run_id)
    write_json(note, {"run_id": run_id})
    return run_id


def _log_dataset(
    client: Any, run_id: str, experiment: str, summary: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]
) -> None:
    """Name the dataset of a run, and keep its cases for mlflow.genai."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = str(summary["cases_digest"])
    source = json.dumps({"uri": "data/eval.jsonl"})
    profile = json.dumps({"rows": summary["cases"], "cases_digest": digest})
    given = Dataset("eval.jsonl", digest[:_DIGEST], "local", source, profile=profile)
    client.log_inputs(run_id, [DatasetInput(given, [InputTag("mlflow.data.context", "evaluation")])])
    name = f"eval-{digest[:12]}"
    found = client.search_datasets(filter_string=f"name = '{name}'")
    dataset = found[0] if found else client.create_dataset(name, experiment, tags={"cases_digest": digest})
    dataset.merge_records(
        [{"inputs": {"question": c["question"]}, "expectations": {"expected": c["expected"]}} for c in cases]
    )
