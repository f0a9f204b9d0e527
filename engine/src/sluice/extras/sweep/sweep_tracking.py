"""Logs a sweep to MLflow: one run for the sweep, a child run for each trial. Tags identify both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sluice.core.tracking import log_values, open_tracking
from sluice.core.workspace import Workspace
from sluice.extras.finetune.training_tracking import EXPERIMENT
from sluice.extras.sweep.study import Trial
from sluice.release.training import FILE, recorded_metrics, recorded_params

_PARENT, _ENDED = "mlflow.parentRunId", ("FINISHED", "FAILED")


class SweepRuns:
    """The runs of the sweep `key`. A run gets its status last, so one that was broken off is seen to be unfinished."""

    def __init__(self, workspace: Workspace, key: str, params: Mapping[str, str]) -> None:
        self._client, self._experiment = open_tracking(workspace, EXPERIMENT)
        self.parent = self._opened({"sweep": key}, f"sweep {key[:8]}")
        self._client.update_run(self.parent, status="RUNNING")
        log_values(self._client, self.parent, [], params)

    def begin(self, trial: Trial) -> str:
        """The run of a trial, or that of the same trial before the sweep was killed."""
        return self._opened({_PARENT: self.parent, "trial": str(trial.number)}, f"trial {trial.number}")

    def log(self, run: str, record: Mapping[str, Any], folder: Path) -> None:
        """Ends a trial's run with parameters, curves, figures and files of its training."""
        if self._client.get_run(run).info.status in _ENDED:  # killed before Optuna was told
            return
        log_values(self._client, run, recorded_metrics(record), recorded_params(record))
        for name in (FILE, "loss.csv"):
            self._client.log_artifact(run, str(folder / name))
        self._client.set_terminated(run)

    def fail(self, run: str, trial: Trial, why: str) -> None:
        """Ends the run of a trial that could not be trained."""
        self._client.set_tag(run, "fault", why)
        log_values(self._client, run, [], {name: str(value) for name, value in trial.values.items()})
        self._client.set_terminated(run, status="FAILED")

    def end(self, best: Trial) -> None:
        """Ends the sweep's run with the number and the loss of its best trial."""
        self._client.set_tag(self.parent, "best_trial", str(best.number))
        if best.loss is not None:
            log_values(self._client, self.parent, [("held_loss", best.loss, 0)], {})
        self._client.set_terminated(self.parent)

    def _opened(self, tags: Mapping[str, str], name: str) -> str:
        wanted = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
        found = self._client.search_runs([self._experiment], wanted, max_results=1)
        run = found[0] if found else self._client.create_run(self._experiment, tags=dict(tags), run_name=name)
        return str(run.info.run_id)
