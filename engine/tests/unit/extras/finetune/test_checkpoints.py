"""Checkpoints: whole or not there, the newest whole one is found, a run's are deleted when it has ended."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.finetune.checkpoints import Checkpoints
from support.libraries import Library

torch = Library("torch")
KEY = "0123456789abcdef" * 4


def saved(folder: Path, *steps: int) -> Checkpoints:
    checkpoints = Checkpoints(folder, KEY)
    for step in steps:
        checkpoints.save(step, {"run": {"steps": step, "loss": [(1, 0.5)]}, "weights": [torch.full((2,), float(step))]})
    return checkpoints


def test_the_newest_is_found_and_only_two_are_kept(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 4, 8, 12)
    found = checkpoints.latest()
    assert found is not None
    assert found["run"] == {"steps": 12, "loss": [(1, 0.5)]}
    assert found["weights"][0].tolist() == [12.0, 12.0]
    assert sorted(p.name for p in checkpoints.folder.glob("*.pt")) == ["step-000008.pt", "step-000012.pt"]
    assert Checkpoints(tmp_path, "f" * 64).latest() is None


@pytest.mark.parametrize("how", ["a bit turned", "cut short", "record cut short", "tensors gone"])
def test_a_broken_one_is_reported_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    checkpoints = saved(tmp_path, 4, 8)
    file = checkpoints.folder / "step-000008.pt"
    content = bytearray(file.read_bytes())
    if how == "a bit turned":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif how == "cut short":
        file.write_bytes(content[:100])
    elif how == "record cut short":
        file.with_suffix(".json").write_text('{"step": 8, "sha')
    else:
        file.unlink()
    found = checkpoints.latest()
    assert found is not None
    assert found["run"]["steps"] == 4
    assert "step-000008.pt" in capsys.readouterr().err
    assert not file.exists()


def test_tensors_without_a_record_are_no_checkpoint(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 4, 8)
    (checkpoints.folder / "step-000008.json").unlink()
    found = checkpoints.latest()
    assert found is not None
    assert found["run"]["steps"] == 4


def test_nothing_is_run_that_a_checkpoint_holds(tmp_path: Path) -> None:
    """Its digest guards against broken disks; torch refuses what would call code."""
    checkpoints = saved(tmp_path, 4)
    torch.save({"run": Path("x")}, checkpoints.folder / "step-000004.pt")
    from sluice.core.digests import digest_of_file

    sha256 = digest_of_file(checkpoints.folder / "step-000004.pt")
    (checkpoints.folder / "step-000004.json").write_text(json.dumps({"step": 4, "sha256": sha256}))
    with pytest.raises(SluiceError, match="step-000004"):
        checkpoints.latest()


def test_a_finished_run_leaves_nothing_and_few_unfinished_ones_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"other{number}").mkdir()
        os.utime(tmp_path / f"other{number}", (number, number))
    checkpoints = saved(tmp_path, 4)
    checkpoints.clear()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other2", "other3", "other4"]


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    checkpoints = saved(tmp_path, 4)
    monkeypatch.setattr("torch.save", full)
    with pytest.raises(SluiceError, match=r"step-000008\.pt: the checkpoint cannot be written: .*No space left"):
        saved(tmp_path, 8)
    monkeypatch.undo()
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["step-000004.json", "step-000004.pt"]
