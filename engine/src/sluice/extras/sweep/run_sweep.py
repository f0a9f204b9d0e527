"""`sluice sweep`: runs trials one after the other; each is a training run scored on held-out training rows.

A sweep is identified by the digest of all inputs of its trials, so the same command resumes a killed sweep.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json
from sluice.core.digests import digest_of, digest_of_code
from sluice.core.errors import SluiceError
from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.workspace import Workspace
from sluice.extras.finetune import trainer
from sluice.extras.finetune.base_model import digest_of_base, require_training_packages
from sluice.extras.finetune.dataset import Example
from sluice.extras.finetune.train_stage import prepare
from sluice.extras.finetune.trainer import TrainingPaths
from sluice.extras.finetune.training_parameters import TrainingParameters, UntrainableError
from sluice.extras.sweep.search_space import SweepSettings
from sluice.extras.sweep.study import Study, Trial, require_optuna
from sluice.extras.sweep.sweep_tracking import SweepRuns
from sluice.release.training import FILE

_KEPT = (FILE, "loss.csv")  # of a trial; its weights are not


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found. `trials`: best first; `records`: number -> training.json of those that could be trained;
    `present`: the values of `train` now, of the parameters that were varied; `run`: its id in MLflow."""

    settings: SweepSettings
    trials: list[Trial]
    records: Mapping[int, Mapping[str, Any]]
    present: Mapping[str, float]
    run: str

    def table(self) -> str:
        """A line for each trial: loss on the held rows, the step that had it, minutes of training, values."""
        lines = [f"trial  held loss  at step  minutes  {'  '.join(f'{name:>13}' for name in self.present)}"]
        for trial in self.trials:
            values = "  ".join(f"{trial.values[name]:13.5g}" for name in self.present)
            record = self.records.get(trial.number)
            if record is None:
                lines.append(f"{trial.number:5}  could not be trained         {values}")
                continue
            step, loss = best_point(record)
            lines.append(f"{trial.number:5}  {loss:9.4f}  {step:7}  {record['seconds'] / 60:7.1f}  {values}")
        return "\n".join(lines)

    def adoption(self) -> str:
        """The command that takes over the best values; empty where they are the present ones."""
        best = self.trials[0].values
        if best == dict(self.present):
            return ""
        # In plain decimals: YAML reads 1e-05 as a word.
        words = [f"train.{name}={Decimal(repr(best[name])):f}" for name in self.present]
        return f"sluice params set {' '.join(words)}"


def best_point(record: Mapping[str, Any]) -> tuple[int, float]:
    """The step with the lowest loss on held rows, and that loss."""
    step, loss = min(record["held_loss"], key=lambda point: point[1])
    return int(step), float(loss)


def run(workspace: Workspace, *, base: Path | None = None) -> SweepResult:
    """Runs the trials that are missing and returns all. `base`: as in training. Nothing but .sluice/ is written.

    SluiceError: a space that is wrong, packages that are missing, another sweep in this checkout, no trial that could
    be trained, and what stops a training run whatever its parameters; the trial is then taken up by the next call.
    """
    settings = load_params(workspace.params, "sweep", SweepSettings)
    present = load_params(workspace.params, "train", TrainingParameters)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SluiceError("a sweep runs in one process", remedy="run `sluice sweep` without torchrun")
    require_training_packages()
    require_optuna()
    with workspace.exclusive("sweep"):
        # A trial is tried in one form only: whether the others can be written is not what is searched for.
        parameters = present.model_copy(update={"held_share": settings.held_share, "exports": present.exports[:1]})
        paths, examples, rows = prepare(workspace, parameters, base=base)
        key = _key(paths.base, examples, parameters, settings)
        return _SweepRun(workspace, key, settings, parameters).run(paths, examples, rows)


def _key(base: Path, examples: list[Example], parameters: TrainingParameters, settings: SweepSettings) -> str:
    """Digest of all that decides a trial. How many there are is not in it: a sweep may be made longer."""
    varied = settings.space.varied()
    apart = {"checkpoint_every", "exports", "threads", "device", *varied}
    return digest_of(
        [
            digest_of_base(base),
            [[list(e.messages), e.target] for e in examples],
            parameters.model_dump(mode="json", exclude=apart),
            settings.space.model_dump(mode="json"),
            digest_of_code(Path(trainer.__file__).parent),
        ]
    )


class _SweepRun:
    """One sweep, in its folder .sluice/sweeps/<key>/."""

    def __init__(self, workspace: Workspace, key: str, settings: SweepSettings, parameters: TrainingParameters) -> None:
        varied = settings.space.varied()
        self._settings, self._parameters = settings, parameters
        self._folder = workspace.state / "sweeps" / key[:16]
        self._present = {name: getattr(parameters, name) for name in varied}
        inside = all(candidates.holds(self._present[name]) for name, candidates in varied.items())
        self._study = Study(
            self._folder / "study.db",
            settings.space,
            seed=parameters.seed,
            present=self._present if inside else None,
        )
        described = {f"space.{name}": str(candidates) for name, candidates in varied.items()}
        self._runs = SweepRuns(workspace, key, described | {"held_share": str(settings.held_share)})

    def run(self, paths: TrainingPaths, examples: list[Example], rows: Mapping[str, str]) -> SweepResult:
        try:
            while self._more():
                self._try(self._study.ask(), paths, examples, rows)
        except KeyboardInterrupt:
            done = f"{len(self._study.ended())} of {self._settings.trials} trials are kept in {self._folder}"
            print(f"sweep: {done}; `sluice sweep` goes on", file=sys.stderr)
            raise
        ended = self._study.ended()
        if not ended or ended[0].loss is None:
            raise SluiceError(
                f"none of {len(ended)} trials could be trained",
                remedy="narrow sweep.space in pipelines/params.yaml: a lower learning_rate, a smaller batch",
            )
        self._runs.end(ended[0])
        return SweepResult(self._settings, ended, self._records(), self._present, self._runs.parent)

    def _more(self) -> bool:
        """Whether another trial is due: by their number, and by the minutes that all have trained for."""
        done = len(self._study.ended())
        spent = sum(record["seconds"] for record in self._records().values()) / 60
        if done < self._settings.trials and spent >= self._settings.minutes:
            print(
                f"sweep: {spent:.1f} of {self._settings.minutes:g} minutes are spent after {done} of "
                f"{self._settings.trials} trials: raise sweep.minutes to go on",
                file=sys.stderr,
            )
            return False
        return done < self._settings.trials

    def _try(self, trial: Trial, paths: TrainingPaths, examples: list[Example], rows: Mapping[str, str]) -> None:
        folder = self._folder / f"trial-{trial.number:04d}"
        begun = self._runs.begin(trial)
        try:
            if not (folder / FILE).is_file():  # else killed between training and the word to Optuna
                self._train(
                    trial, TrainingPaths(paths.base, paths.served, folder, self._folder / "checkpoints"), examples, rows
                )
        except UntrainableError as error:
            print(f"sweep: trial {trial.number} could not be trained: {error.message}", file=sys.stderr)
            self._runs.fail(begun, trial, error.message)
            self._study.tell(trial, None)
            return
        for path in folder.iterdir():
            if path.name not in _KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        record = read_json(folder / FILE)
        self._runs.log(begun, record, folder)
        self._study.tell(trial, best_point(record)[1])

    def _train(self, trial: Trial, paths: TrainingPaths, examples: list[Example], rows: Mapping[str, str]) -> None:
        parameters = TrainingParameters.model_validate(self._parameters.model_dump() | dict(trial.values))
        progress = StageReporter("sweep")
        label = f"steps of trial {trial.number} ({len(self._study.ended()) + 1} of {self._settings.trials})"
        trainer.train(paths, examples, parameters, partial(_report, progress, label), rows=rows)

    def _records(self) -> dict[int, Mapping[str, Any]]:
        """training.json of each trial that was trained."""
        return {
            int(file.parent.name.removeprefix("trial-")): read_json(file) for file in self._folder.glob(f"*/{FILE}")
        }


def _report(progress: StageReporter, label: str, step: int, steps: int, loss: float) -> None:
    progress.report(step, steps, f"{label}, loss {loss:.2f}")
