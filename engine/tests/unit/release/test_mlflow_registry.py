"""MLflow on SQLite for real, in a temporary folder."""

from pathlib import Path
from typing import Any

import pytest

from sluice.core.workspace import Workspace
from sluice.release import champion, mlflow_registry
from sluice.release.environment_record import here
from sluice.release.manifest import Manifest
from unit.release.conftest import Make


@pytest.fixture(autouse=True)
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_registry, "hooks", lambda _: {})


def client_of(workspace: Workspace) -> Any:
    import mlflow

    uri = mlflow_registry.tracking_uri(workspace)
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs_of(client: Any, manifest: Manifest) -> list[Any]:
    experiment = client.get_experiment_by_name(mlflow_registry.EXPERIMENT)
    return list(client.search_runs([experiment.experiment_id], f"tags.release = '{manifest.id}'"))


def test_the_road_of_two_releases_through_the_registry(workspace: Workspace, make: Make, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """One test, because the first touch of MLflow costs seconds."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    baseline, folder = make(adapter=None)
    mlflow_registry.record_release(workspace, baseline, folder)
    client = client_of(workspace)
    assert not client.search_registered_models(f"name = '{mlflow_registry.ADAPTER_MODEL}'")
    prompt = client.get_prompt_version_by_alias("answer", "candidate")
    assert prompt.tags["digest"] == baseline.prompts["answer"]
    assert prompt.tags["commit"] == "0" * 40
    assert prompt.template == [{"role": "user", "content": "{{passages}} {{question}}"}]
    champion.promote(workspace, here(workspace), baseline.id)
    assert client.get_prompt_version_by_alias("answer", "champion").version == 1

    release, folder = make(parent=baseline.id)
    run_id = mlflow_registry.record_release(workspace, release, folder)
    assert mlflow_registry.record_release(workspace, release, folder) == run_id
    (run,) = runs_of(client, release)
    assert run.data.params["training_rank"] == "16"
    assert run.data.params["chat_sha256"] == "1a" * 32
    assert run.data.metrics["f1"] == 0.5
    assert "judge" not in run.data.metrics
    history = client.get_metric_history(run_id, "train_loss")
    assert [(one.step, one.value) for one in history] == [(1, 3.5), (2, 2.5), (3, 1.5)]
    assert run.info.artifact_uri.startswith((workspace.state / "mlartifacts").as_uri())
    artifacts = {one.path for one in client.list_artifacts(run_id)}
    assert artifacts == {"release.json", "judgement.json", "training.json", "evaluation", "adapter"}
    version = client.get_model_version_by_alias(mlflow_registry.ADAPTER_MODEL, "candidate")
    assert version.tags["release"] == release.id
    assert version.tags["sha256"] == (release.adapter.sha256 if release.adapter else None)
    assert len(client.search_prompt_versions("answer")) == 1

    assert make(parent=baseline.id, commit="1" * 40)[0] == release  # judged again
    assert mlflow_registry.record_release(workspace, release, folder) != run_id
    assert {one.data.tags["commit"] for one in runs_of(client, release)} == {"0" * 40, "1" * 40}

    champion.promote(workspace, here(workspace), release.id)
    assert client.get_model_version_by_alias(mlflow_registry.ADAPTER_MODEL, "champion").version == version.version

    path = workspace.prompts / "answer.prompt.yml"
    path.write_text(path.read_text().replace("{{passages}} {{question}}", "{{question}} {{passages}}"))
    edited, folder = make(parent=release.id)
    client.create_run(run.info.experiment_id, tags={"release": edited.id})  # what a killed process leaves behind
    mlflow_registry.record_release(workspace, edited, folder)
    assert [r.info.status for r in runs_of(client, edited)] == ["FINISHED"]
    assert client.get_prompt_version_by_alias("answer", "candidate").version == 2
    assert client.get_prompt_version_by_alias("answer", "champion").version == 1
    assert len(client.search_model_versions(f"name = '{mlflow_registry.ADAPTER_MODEL}'")) == 1

    champion.promote(workspace, here(workspace), baseline.id, reason="rollback")
    assert "champion" not in client.get_registered_model(mlflow_registry.ADAPTER_MODEL).aliases
    assert client.get_prompt_version_by_alias("answer", "champion").version == 1
    assert list(elsewhere.iterdir()) == []


def test_promoting_a_release_that_was_never_recorded_records_it(workspace: Workspace, make: Make) -> None:
    manifest, _ = make()
    mlflow_registry.promote_aliases(workspace, manifest)
    client = client_of(workspace)
    assert len(runs_of(client, manifest)) == 1
    assert client.get_model_version_by_alias(mlflow_registry.ADAPTER_MODEL, "champion").tags["release"] == manifest.id
