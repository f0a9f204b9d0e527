import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.core.extras import HERE, packages
from sluice.core.tracking import open_tracking
from sluice.core.workspace import Workspace
from sluice.data.rows import Document, Row
from sluice.evaluation import application, evaluate_stage
from sluice.evaluation.evaluate_stage import (
    RecordedScores,
    metrics_digest,
    open_evaluation,
    record_evaluation,
    scores_digest,
)
from sluice.evaluation.registry import METRICS, Output
from sluice.evaluation.response_cache import ResponseCache
from sluice.evaluation.summary import write_results
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import ChunkerSettings, build_index
from sluice.serving.release_parts import draft_bundle
from support.guardrails import place_guard_model
from support.serving.fakes import scripted_bundle

ROOT = Path(__file__).parents[4]


@pytest.mark.real
def test_the_real_application_is_asked_once_and_then_replayed(
    workspace: Workspace, documents: list[Document], rows: list[Row], models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_CACHE", str(Workspace(ROOT).cache))
    with Embedder(models.embed) as embedder:
        build_index(documents, embedder, models.specs.embed, ChunkerSettings(), workspace.build / "index")
    place_guard_model(workspace, models.specs.embed.sha256)
    bundle = draft_bundle(workspace, adapter=None)
    with open_evaluation(workspace, bundle) as (ask, metrics):
        first = [*ask(rows[:1]), *ask(rows[1:2])]  # the application stays open
    assert [(case["status"], case["recorded"]) for case in first] == [("answered", False)] * 2
    assert [case["retrieved"][0] for case in first] == ["chunking", "canary"]
    assert {metric.name for metric in metrics} >= {"f1", "answer_similarity"}
    monkeypatch.setattr(application, "open_model", never)
    monkeypatch.setattr(application, "open_search", never)
    with open_evaluation(workspace, bundle) as (ask, _):
        again = ask(rows[:2])
    assert again == [case | {"recorded": True} for case in first]
    monkeypatch.undo()
    monkeypatch.setattr(application, "open_model", never)
    with open_evaluation(workspace, bundle, replay=True) as (ask, _):
        replayed = ask(rows[:3])
    assert [case["status"] for case in replayed] == ["answered", "answered", "not_evaluated"]
    assert replayed[2]["scores"] == {}


def never(*_: Any) -> Any:
    raise AssertionError("it was started although nothing had to be asked")


class Counting:
    name, unit, direction, aggregate = "m", "share", "higher", "mean"

    def __init__(self, version: str = "1", result: Any = 0.5) -> None:
        self.version, self.result, self.scored = version, result, 0

    def score(self, row: Row, output: Output) -> Any:  # noqa: ARG002
        self.scored += 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def score(tmp_path: Path, row: Callable[..., Row], output: Callable[..., Output]) -> Ask:
    def score(metric: Any, digest: str = "d", *, answer: str = "x", **changes: Any) -> dict[str, Any]:
        scores = RecordedScores(ResponseCache(tmp_path), [metric], digest)
        return asyncio.run(scores(row(answer), output("text", **changes)))

    return score


def test_the_same_is_scored_once_and_another_row_output_or_digest_anew(score: Ask) -> None:
    metric = Counting()
    assert score(metric) == score(metric) == score(metric, recorded=True)
    assert (score(metric)["scores"], metric.scored) == ({"m": 0.5}, 1)
    for change in ({"answer": "y"}, {"latency_ms": 1.0}, {"passages": ("p",)}, {"digest": "e"}):
        score(metric, **change)
    assert metric.scored == 5


def test_results_with_an_error_are_not_kept(score: Ask) -> None:
    assert score(Counting(result=ValueError("no")))["errors"] == {"m": "ValueError: no"}
    assert score(Counting())["scores"] == {"m": 0.5}


def test_the_embedder_and_the_model_decide(tmp_path: Path) -> None:
    bundle = dataclasses.replace(scripted_bundle(), embedder=tmp_path / "e.gguf")
    bundle.embedder.write_bytes(b"1")
    first = scores_digest(bundle, "m")
    assert scores_digest(bundle, "m") == first
    assert scores_digest(bundle, "n") != first
    bundle.embedder.write_bytes(b"2")
    assert scores_digest(bundle, "m") != first


def test_code_and_libraries_of_every_metric_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    first, asked = metrics_digest(), set()
    folders: list[Path] = []

    def newer(library: str) -> str:
        asked.add(library)
        return "99"

    monkeypatch.setattr(evaluate_stage, "version", newer)
    assert metrics_digest() != first
    assert asked == {name for one in METRICS.values() for name in one.libraries} >= {"jsonschema", "regex"}
    monkeypatch.setattr(evaluate_stage, "digest_of_code", lambda *given: folders.extend(given) or "")
    metrics_digest()
    assert {HERE / package.split(".")[2] for package in packages("metrics")} <= set(folders)


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS["regex"], "libraries", ("no-such-library",), raising=False)
    with pytest.raises(SluiceError, match="the metric 'regex' names a library that is not installed: no-such-library"):
        metrics_digest()


FIGURE = {"samples": 2, "errors": 0, "unit": "share", "direction": "higher"}
SUMMARY: dict[str, Any] = {
    "cases_digest": "c" * 64,
    "cases": 2,
    "metrics": {"f1": {"value": 0.5, **FIGURE}, "empty": {"value": None, **FIGURE}},
    "labels": {},
    "assertions": {"contains": {"share": 0.75, "passed": 3, **FIGURE}},
    "recorded": 1,
}


def test_an_evaluation_is_recorded_once_with_all_that_belongs_to_it(tmp_path: Path, monkeypatch: Any) -> None:
    workspace, bundle = Workspace(tmp_path), scripted_bundle()
    cases = [{"id": name, "question": f"What is {name}?", "expected": [name]} for name in "ab"]
    write_results(tmp_path / "out", SUMMARY, cases)
    run_id = record_evaluation(workspace, bundle, SUMMARY, tmp_path / "out")
    client, experiment = open_tracking(workspace, "evaluations")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"f1": 0.5, "contains": 0.75, "cases": 2, "recorded": 1}
    assert run.data.params["prompt_answer"] == bundle.prompts["answer"].digest
    assert (run.data.params["provider"], run.data.params["adapter"]) == ("local", "none")
    assert run.data.tags["release"] == bundle.release
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == "c" * 36
    assert {file.path for file in client.list_artifacts(run_id)} == {"cases.jsonl", "summary.json", "metrics.json"}
    # What the pages of mlflow.genai show: runs without models of an experiment of this kind, and its datasets.
    assert client.get_experiment(experiment).tags["mlflow.experimentKind"] == "genai_development"
    assert (run.data.tags["mlflow.runType"], run.outputs.model_outputs) == ("genai_evaluate", [])
    other = record_evaluation(workspace, bundle, SUMMARY | {"cases": 3}, tmp_path / "out")
    assert other != run_id
    (kept,) = client.search_datasets(experiment_ids=[experiment])
    assert (kept.name, kept.tags["cases_digest"]) == (f"eval-{'c' * 12}", "c" * 64)
    # MLflow promises no order of a dataset's rows: within one millisecond it is that of their random ids.
    rows = kept.to_df()
    expected = {row["question"]: answer["expected"] for row, answer in zip(rows.inputs, rows.expectations, strict=True)}
    assert expected == {"What is a?": ["a"], "What is b?": ["b"]}
    assert len(rows) == 2

    monkeypatch.setattr(evaluate_stage, "open_tracking", never)
    again = SUMMARY | {"recorded": 2}
    assert record_evaluation(workspace, bundle, again, tmp_path / "out") == run_id
