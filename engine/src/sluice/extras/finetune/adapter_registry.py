"""The adapter of a release in MLflow's registry: a model that `mlflow.pyfunc.load_model` can ask."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.tracking import tracking_uri
from sluice.core.workspace import Workspace
from sluice.extras.finetune.adapter_logging import log_adapter
from sluice.llm.model_files import load_models
from sluice.release.manifest import ADAPTER
from sluice.release.mlflow_registry import (
    ADAPTER_MODEL,
    CANDIDATE,
    EXPERIMENT,
    new_version,
    open_registry,
    trained_version,
)

_URI = f"models:/{ADAPTER_MODEL}@{CANDIDATE}"


def register_adapter(client: Any, adapter: Path, config: Path, run_id: str = "") -> str:
    """Logs an adapter as a model and registers it, unless a version that can be asked has its content."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    sha256 = digest_of_file(adapter)
    version = trained_version(client, ADAPTER_MODEL, sha256)
    # Adapters of earlier versions of this project are files of a run, which cannot be asked: they are logged anew.
    if version and client.get_model_version(ADAPTER_MODEL, version).source.startswith("models:/"):
        return version
    run = client.get_run(run_id) if run_id else None
    experiment = run.info.experiment_id if run else client.get_experiment_by_name(EXPERIMENT).experiment_id
    source = log_adapter(client, experiment, adapter, load_models(config / "models.yaml").chat, sha256, run_id)
    return new_version(client, ADAPTER_MODEL, source, sha256, run_id)


def take_adapter(workspace: Workspace, evaluated: Path) -> Path:
    """The adapter of a release: registered as candidate, and then what `models:/sluice-adapter@candidate` names."""
    store, into = tracking_uri(workspace), workspace.state / CANDIDATE
    with open_registry(workspace) as client:
        from mlflow.artifacts import download_artifacts

        version = register_adapter(client, evaluated, workspace.config)
        client.set_registered_model_alias(ADAPTER_MODEL, CANDIDATE, version)
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        download_artifacts(f"{_URI}/artifacts", dst_path=str(into), tracking_uri=store, registry_uri=store)
    taken = into / "artifacts" / ADAPTER
    if (found := digest_of_file(taken)) != (sha256 := digest_of_file(evaluated)):
        raise SluiceError(
            f"{_URI} is sha256 {found}, and what was evaluated is {sha256}",
            remedy="another release has moved the alias, or the store is damaged: run it again",
        )
    return taken
