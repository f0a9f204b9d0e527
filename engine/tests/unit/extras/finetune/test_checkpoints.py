"""Checkpoints: whole or not there, the newest whole one is found, a run's are deleted when it has ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.finetune.checkpoints import Checkpoints
from support.libraries import Library

Library("safetensors")
KEY = "0123456789abcdef" * 4


def saved(folder: Path, *steps: int) -> Checkpoints:
    checkpoints = Checkpoints(folder, KEY)
    for step in steps:
        checkpoint = checkpoints.folder / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        with checkpoints.written(checkpoint):
            (checkpoint / "optimizer.pt").write_bytes(b"x" * 1000)
            (checkpoint / "trainer_state.json").write_text("{}")
    return checkpoints


def test_the_newest_is_found_by_its_step(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 4, 8, 12)
    assert checkpoints.latest() == checkpoints.folder / "checkpoint-12"
    assert Checkpoints(tmp_path, "f" * 64).latest() is None


@pytest.mark.parametrize("how", ["a bit turned", "cut short", "record cut short", "tensors gone"])
def test_a_broken_one_is_reported_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    checkpoints = saved(tmp_path, 4, 8)
    file = checkpoints.folder / "checkpoint-8" / "optimizer.pt"
    if how == "a bit turned":
        file.write_bytes(b"y" + b"x" * 999)
    elif how == "cut short":
        file.write_bytes(b"x" * 100)
    elif how == "record cut short":
        file.with_name("files.json").write_text('{"optimizer.pt": "sha')
    else:
        file.unlink()
    assert checkpoints.latest() == checkpoints.folder / "checkpoint-4"
    assert "checkpoint-8" in capsys.readouterr().err
    assert not file.parent.exists()


def test_files_without_a_record_are_no_checkpoint(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 4, 8)
    (checkpoints.folder / "checkpoint-8" / "files.json").unlink()
    assert checkpoints.latest() == checkpoints.folder / "checkpoint-4"
    assert not (checkpoints.folder / "checkpoint-8").exists()


def test_a_finished_run_leaves_nothing_and_few_unfinished_ones_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"other{number}").mkdir()
        os.utime(tmp_path / f"other{number}", (number, number))
    checkpoints = saved(tmp_path, 4)
    checkpoints.clear()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other2", "other3", "other4"]


@pytest.mark.parametrize(
    "fault", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")]
)
def test_a_full_disk_is_said(tmp_path: Path, fault: Exception) -> None:
    checkpoints = saved(tmp_path, 4)
    with (
        pytest.raises(SluiceError, match=r"checkpoint-8: the checkpoint cannot be written: .*"),
        checkpoints.written(checkpoints.folder / "checkpoint-8"),
    ):
        raise fault
    assert checkpoints.latest() == checkpoints.folder / "checkpoint-4"


def test_another_fault_stays_what_it_is(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 4)
    with (
        pytest.raises(RuntimeError, match="Connection closed by peer"),
        checkpoints.written(checkpoints.folder / "checkpoint-8"),
    ):
        raise RuntimeError("Connection closed by peer")
