"""A sweep: its trials as MLflow runs, broken off and given again, and what it says at the end. The trainer is a
stand-in; unit/training/test_stage.py kills the real one, where the processes that train are started already."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from sluice.core.errors import SluiceError
from sluice.core.tracking import VARIABLE, open_tracking
from sluice.core.workspace import Workspace
from sluice.extras.finetune import trainer
from sluice.extras.finetune.trainer import TrainingPaths
from sluice.extras.finetune.training_parameters import TrainingParameters, UntrainableError
from sluice.extras.finetune.training_tracking import EXPERIMENT
from sluice.extras.sweep import run_sweep
from sluice.extras.sweep.run_sweep import run
from unit.extras.finetune.tiny import EXAMPLES

pytest.importorskip("optuna")
RATES = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}


def declare(workspace: Workspace, **changes: Any) -> None:
    params = yaml.safe_load(workspace.params.read_text())
    params["sweep"] = {"trials": 3, "minutes": 60, "held_share": 0.25, "space": RATES} | changes
    workspace.params.write_text(yaml.safe_dump(params))


class Trained:
    """Stands in for the trainer. A trial's loss is its learning rate; `before(number of call)` may end it."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.before: Callable[[int], None] = lambda _: None

    def __call__(self, paths: TrainingPaths, _: Any, params: TrainingParameters, *__: Any, **___: Any) -> None:
        self.before(len(self.rates))
        self.rates.append(params.learning_rate)
        assert params.held_share == 0.25
        paths.out.mkdir(parents=True)
        (paths.out / "adapter.gguf").write_text("weights")
        (paths.out / "loss.csv").write_text("step,loss,held_loss\n")
        record = {
            "parameters": {"learning_rate": params.learning_rate},
            "seconds": 120.0,
            "held_loss": [[12, params.learning_rate], [24, 9.0]],
        }
        (paths.out / "training.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow store for all tests here: its tables take seconds to make."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def trained(workspace: Workspace, store: str, monkeypatch: pytest.MonkeyPatch) -> Trained:
    monkeypatch.setenv(VARIABLE, store)
    fake = Trained()
    base = workspace.root / "base.gguf"
    base.write_text(str(base))  # else two tests would be one sweep
    monkeypatch.setattr(run_sweep, "prepare", lambda *_, **__: (TrainingPaths(base, base, base, base), EXAMPLES, {}))
    monkeypatch.setattr(trainer, "train", fake)
    declare(workspace)
    return fake


def children(workspace: Workspace, parent: str) -> dict[str, Any]:
    client, experiment = open_tracking(workspace, EXPERIMENT)
    runs = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    return {run.data.tags["trial"]: run for run in runs}


def test_a_killed_sweep_goes_on_under_the_same_run_and_can_be_made_longer(
    workspace: Workspace, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(call: int) -> None:
        if call == 1:
            raise KeyboardInterrupt

    trained.before = killed
    with pytest.raises(KeyboardInterrupt):
        run(workspace)
    assert re.search(r"sweep: 1 of 3 trials are kept in .*; `sluice sweep` goes on", capsys.readouterr().err)
    trained.before = lambda _: None
    found = run(workspace)
    assert len(trained.rates) == 3
    assert trained.rates[0] == 1e-3  # the present value
    assert [trial.values["learning_rate"] for trial in found.trials] == sorted(trained.rates)
    runs = children(workspace, found.run)
    assert {number: (r.info.status, r.data.metrics["held_loss"]) for number, r in runs.items()} == {
        str(n): ("FINISHED", 9.0) for n in range(3)
    }
    client, _ = open_tracking(workspace, EXPERIMENT)
    parent = client.get_run(found.run)
    assert (parent.info.status, parent.data.params["space.learning_rate"]) == ("FINISHED", "0.0001 to 0.01 (log)")
    assert parent.data.metrics["held_loss"] == min(trained.rates)
    assert not list((workspace.state / "sweeps").glob("*/trial-*/adapter.gguf"))
    table = found.table().splitlines()
    assert len(table) == 4
    assert table[1].split()[1:4] == [f"{min(trained.rates):.4f}", "12", "2.0"]
    assert yaml.safe_load(found.adoption().partition("train.learning_rate=")[2]) == min(trained.rates)
    declare(workspace, trials=4)
    assert len(run(workspace).trials) == 4
    assert len(trained.rates) == 4


def test_what_cannot_be_trained_is_a_trial_and_any_other_fault_stops_the_sweep(
    workspace: Workspace, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    def faults(call: int) -> None:
        raise UntrainableError("the loss is nan") if call == 0 else SluiceError("no space left")

    def first(call: int) -> None:
        trained.before = lambda _: faults(1)
        faults(call)

    trained.before = first
    with pytest.raises(SluiceError, match="no space left"):
        run(workspace)
    assert "sweep: trial 0 could not be trained: the loss is nan" in capsys.readouterr().err
    trained.before = lambda _: None
    found = run(workspace)
    assert len(trained.rates) == 2
    assert found.table().splitlines()[-1].startswith("    0  could not be trained")
    failed = children(workspace, found.run)["0"]
    assert (failed.info.status, failed.data.tags["fault"]) == ("FAILED", "the loss is nan")


def test_a_space_in_which_nothing_can_be_trained_is_an_error(workspace: Workspace, trained: Trained) -> None:
    def fails(_: int) -> None:
        raise UntrainableError("the loss is nan")

    trained.before = fails
    with pytest.raises(SluiceError, match=r"none of 3 trials could be trained\n.*narrow sweep\.space"):
        run(workspace)


@pytest.mark.usefixtures("trained")
def test_minutes_are_of_all_trials_together(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    declare(workspace, minutes=3)
    for _ in range(2):
        assert len(run(workspace).trials) == 2
        assert "4.0 of 3 minutes are spent after 2 of 3 trials: raise sweep.minutes" in capsys.readouterr().err


@pytest.mark.usefixtures("trained")
def test_present_values_that_are_best_are_not_to_be_adopted(workspace: Workspace) -> None:
    declare(workspace, space={"learning_rate": {"low": 1e-3, "high": 1e-2}})
    assert run(workspace).adoption() == ""


@pytest.mark.usefixtures("trained")
def test_a_second_sweep_in_the_checkout_is_refused(workspace: Workspace) -> None:
    with workspace.exclusive("sweep"), pytest.raises(SluiceError, match="another sweep runs in this checkout"):
        run(workspace)
