# ruff: noqa: F811 - a fixture that is imported is named by the tests

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.tracking import open_tracking
from sluice.core.workspace import Workspace
from sluice.data.rows import Row
from sluice.extras.finetune.training_record import EXPERIMENT, log_training, model_card
from sluice.release.manifest import Manifest
from sluice.release.mlflow_registry import record_release
from unit.release.conftest import make, workspace  # noqa: F401 - fixtures

Make = Callable[..., tuple[Manifest, Path]]
ROWS = [Row(id=f"q{n}", question=f"What is {n}?", answers=(str(n),), doc_ids=("numbers",)) for n in range(3)]


def record(workspace: Workspace, **more: object) -> None:
    path = workspace.build / "adapter" / "training.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_parameters_curves_and_files_are_logged(workspace: Workspace) -> None:
    out = workspace.build / "adapter"
    written = {
        "parameters": {"rank": 16},
        "base_sha256": "b" * 64,
        "data_digest": "d" * 64,
        "loss": [[step, 1 / step] for step in range(1, 1201)],  # more than MLflow takes at once
        "tokens_per_second": 500.5,
    }
    (out / "training.json").write_text(json.dumps(written))
    (out / "loss.csv").write_text("step,loss\n")
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


def test_the_card_says_what_it_is_made_of_and_what_it_scored(workspace: Workspace, make: Make) -> None:
    record(
        workspace,
        base_sha256="b" * 64,
        hardware={"device": "a processor", "cores": 2},
        peak_memory_bytes=3 << 30,
    )
    manifest, folder = make()
    with pytest.raises(SluiceError, match="MLflow has no finished run of it"):
        model_card(workspace, manifest)
    record_release(workspace, manifest, folder)
    card = model_card(workspace, manifest)
    assert card.startswith("# sluice-adapter version 1\n")
    assert manifest.adapter is not None
    for line in (
        f"| adapter sha256 | {manifest.adapter.sha256} |",
        f"| trained on sha256 | {'b' * 64} |",
        "| rank | 16 |",
        "| hardware_device | a processor |",
        "| train_loss | 1.5 |",
        "| f1 | 0.5 |",
    ):
        assert line in card.splitlines(), line
    assert "| judge |" not in card
    assert "| training" not in card
    with pytest.raises(SluiceError, match="has no adapter"):
        model_card(workspace, make(adapter=None)[0])
