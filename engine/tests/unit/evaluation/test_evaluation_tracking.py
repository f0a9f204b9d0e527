from __future__ import annotations

from pathlib import Path
from typing import Any

from sluice.core.tracking import open_tracking
from sluice.core.workspace import Workspace
from sluice.evaluation import evaluation_tracking
from sluice.evaluation.evaluation_tracking import record_evaluation
from sluice.evaluation.summary import write_results
from support.serving.fakes import scripted_bundle

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

    def never(*_: Any) -> None:
        raise AssertionError("MLflow was opened for what is recorded already")

    monkeypatch.setattr(evaluation_tracking, "open_tracking", never)
    again = SUMMARY | {"recorded": 2}
    assert record_evaluation(workspace, bundle, again, tmp_path / "out") == run_id
