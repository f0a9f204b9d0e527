"""The study on SQLite for real: what a killed sweep finds again."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.sweep.search_space import SearchSpace
from sluice.extras.sweep.study import Study, Trial

pytest.importorskip("optuna")
SPACE = SearchSpace.model_validate(
    {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "rank": {"choices": [4, 8]},
        "steps": {"low": 2, "high": 9},
    }
)
PRESENT = {"learning_rate": 1e-3, "rank": 8, "steps": 5}


def opened(folder: Path) -> Study:
    return Study(folder / "study.db", SPACE, seed=1, present=PRESENT)


def test_a_study_opened_anew_for_each_trial_draws_what_an_unbroken_one_draws(tmp_path: Path) -> None:
    """A trial that was under way is asked again; the present values come first."""
    unbroken = opened(tmp_path / "unbroken")
    expected = []
    for loss in (3.0, 1.0, 2.0, None, 2.5, 0.5):
        expected.append(unbroken.ask())
        unbroken.tell(expected[-1], loss)
    found = []
    for loss in (3.0, 1.0, 2.0, None, 2.5, 0.5):
        opened(tmp_path / "broken").ask()  # and is killed
        again = opened(tmp_path / "broken")
        found.append(again.ask())
        again.tell(found[-1], loss)
    assert found == expected
    assert found[0] == Trial(0, PRESENT)
    assert len({str(trial.values) for trial in found}) == 6
    ended = opened(tmp_path / "broken").ended()
    assert [trial.loss for trial in ended] == [0.5, 1.0, 2.0, 2.5, 3.0, None]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database" * 100)
    with pytest.raises(SluiceError, match=r"study\.db: Optuna cannot use it: .*\n.*begins anew"):
        opened(tmp_path)


def test_a_machine_without_optuna_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SluiceError, match=r"optuna, which is not installed here\n.*make setup"):
        opened(tmp_path)
