"""Logs a training run of its own to MLflow: `sluice train --track`. release/mlflow_registry.py logs that of a
release."""

from __future__ import annotations

from pathlib import Path

from sluice.core.atomic_files import read_json
from sluice.core.tracking import log_values, open_tracking
from sluice.core.workspace import Workspace
from sluice.extras.finetune.adapter_registry import register_adapter
from sluice.release.manifest import ADAPTER
from sluice.release.mlflow_registry import TRAINING, open_registry, recorded_metrics, recorded_params

EXPERIMENT = "training"


def log_training(workspace: Workspace, out: Path) -> str:
    """Logs parameters, curves, figures and files of the finished run in `out`; returns the run id.

    The adapter is registered as a model that `mlflow.pyfunc.load_model` can ask; a release of it takes that version.
    The run gets its status last, so one that was broken off is seen to be unfinished.
    """
    client, experiment = open_tracking(workspace, EXPERIMENT)
    record = read_json(out / TRAINING)
    run_id = str(client.create_run(experiment, tags={"data": record["data_digest"]}).info.run_id)
    log_values(client, run_id, recorded_metrics(record), recorded_params(record))
    for name in (TRAINING, "loss.csv"):
        client.log_artifact(run_id, str(out / name))
    if (adapter := out / ADAPTER).is_file():
        with open_registry(workspace) as registry:
            register_adapter(registry, adapter, workspace.config, run_id)
    client.set_terminated(run_id)
    return run_id
