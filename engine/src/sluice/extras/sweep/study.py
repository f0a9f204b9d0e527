"""The Optuna study in SQLite: past trials and the next values, so that a killed sweep resumes.

Each draw has a seed of its own, so that a sweep that was killed and went on tries the same values as one that was not.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.extras.sweep.search_space import ParameterValues, SearchSpace

_STARTUP = 4  # trials drawn at random before Optuna infers where it is good


@dataclass(frozen=True)
class Trial:
    """`values`: of the parameters in the space. `loss`: on held rows; None where it has not ended, or could not be
    trained."""

    number: int
    values: Mapping[str, float]
    loss: float | None = None


def require_optuna() -> None:
    """SluiceError when Optuna is not installed: the serving set lacks it."""
    if importlib.util.find_spec("optuna") is None:
        raise SluiceError("a sweep needs optuna, which is not installed here", remedy="run `make setup`")


class Study:
    """The trials in the file `file`, made where it is missing. `present`: values that are tried first, if given."""

    def __init__(
        self, file: Path, space: SearchSpace, *, seed: int, present: Mapping[str, float] | None = None
    ) -> None:
        require_optuna()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._seed, self._file = seed, file
        self._space = {name: _distribution(candidates) for name, candidates in space.varied().items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._usable():
            self._study = optuna.create_study(
                study_name="sweep", storage=f"sqlite:///{file}", direction="minimize", load_if_exists=True
            )
            if present and not self._study.get_trials(deepcopy=False):
                self._study.enqueue_trial(dict(present))

    def ask(self) -> Trial:
        """The trial that was under way when the sweep was killed, else a new one."""
        import optuna

        with self._usable():
            for left in self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
                if self._drawn(left):
                    return Trial(left.number, left.params)
                self._study.tell(left.number, state=optuna.trial.TrialState.FAIL)
            number = len(self._study.get_trials(deepcopy=False))
            self._study.sampler = optuna.samplers.TPESampler(seed=self._seed + number, n_startup_trials=_STARTUP)
            asked = self._study.ask(self._space)
            return Trial(asked.number, asked.params)

    def tell(self, trial: Trial, loss: float | None) -> None:
        """Ends a trial. `loss`: None when it could not be trained."""
        import optuna

        with self._usable():
            if loss is None:
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(trial.number, loss)

    def ended(self) -> list[Trial]:
        """Trials that have ended, best first; those that could not be trained last."""
        with self._usable():
            trials = self._study.get_trials(deepcopy=False)
        ended = [Trial(t.number, t.params, t.value) for t in trials if t.state.is_finished() and self._drawn(t)]
        return sorted(ended, key=lambda t: (t.loss is None, t.loss or 0.0, t.number))

    def _drawn(self, trial: Any) -> bool:
        """Whether it has all its values: one that was killed while they were drawn was never tried."""
        return set(trial.params) == set(self._space)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (StorageInternalError, SQLAlchemyError) as error:
            raise SluiceError(
                f"{self._file}: Optuna cannot use it: {str(error.__cause__ or error).splitlines()[0]}",
                remedy=f"free some space if the disk is full; else delete {self._file.parent}: the sweep begins anew",
            ) from error


def _distribution(candidates: ParameterValues[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    low, high = candidates.low, candidates.high
    if low is None or high is None:
        return CategoricalDistribution(candidates.choices)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=candidates.log)
    return FloatDistribution(low, high, log=candidates.log)
