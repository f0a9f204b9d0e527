"""A training run of its own in MLflow, on SQLite for real."""

from __future__ import annotations

import json

from sluice.core.tracking import open_tracking
from sluice.core.workspace import Workspace
from sluice.extras.finetune.training_tracking import EXPERIMENT, log_training


def test_parameters_curves_and_files_are_logged(workspace: Workspace) -> None:
    out = workspace.build / "adapter"
    out.mkdir(parents=True)
    record = {
        "parameters": {"rank": 16},
        "base_sha256": "b" * 64,
        "data_digest": "d" * 64,
        "loss": [[step, 1 / step] for step in range(1, 1201)],  # more than MLflow takes at once
        "tokens_per_second": 500.5,
    }
    (out / "training.json").write_text(json.dumps(record))
    (out / "loss.csv").write_text("step,loss\n")
    (out / "adapter.gguf").write_bytes(b"GGUF adapter")
    run_id = log_training(workspace, out)
    client, experiment = open_tracking(workspace, EXPERIMENT)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["data"] == "d" * 64
    assert run.data.params == {"rank": "16", "base_sha256": "b" * 64, "data_digest": "d" * 64}
    assert run.data.metrics["tokens_per_second"] == 500.5
    assert len(client.get_metric_history(run_id, "loss")) == 1200
    assert {f.path for f in client.list_artifacts(run_id)} == {"training.json", "loss.csv"}
    (version,) = client.search_model_versions("name = 'sluice-adapter'")
    (model,) = run.outputs.model_outputs
    assert (version.run_id, version.source) == (run_id, f"models:/{model.model_id}")
    assert version.aliases == []  # a release makes it a candidate
    assert client.get_logged_model(model.model_id).experiment_id == experiment
