"""The exit status of every command: `main` is the one place that makes it."""

from __future__ import annotations

import signal
import sys

import pytest

from sluice import cli, road
from sluice.core.errors import CanaryStopped, GateFailed, SluiceError


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "die_with_parent", lambda: None)
    monkeypatch.setattr(cli, "watch_parent", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.mark.parametrize(
    ("raised", "status", "says"),
    [
        (SluiceError("data.dvc: gone", remedy="bring it back"), 1, "error: data.dvc: gone"),
        (CanaryStopped("too slow"), 1, "error: too slow"),
        (GateFailed("f1 fell"), 3, "error: f1 fell"),
        (KeyboardInterrupt(), 130, "interrupted; the next run picks up"),
    ],
)
def test_what_a_command_raises_becomes_its_exit_status(
    raised: BaseException,
    status: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def end(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(road, "make_release", end)
    monkeypatch.setattr(sys, "argv", ["sluice", "release", "make"])
    assert cli.main() == status
    assert says in capsys.readouterr().err


def test_a_command_that_ends_well_is_0_and_a_wrong_option_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sluice", "--help"])
    assert cli.main() == 0
    monkeypatch.setattr(sys, "argv", ["sluice", "release", "make", "--falt", "delay=1"])
    assert cli.main() == 2
    assert "--fault" in capsys.readouterr().err
