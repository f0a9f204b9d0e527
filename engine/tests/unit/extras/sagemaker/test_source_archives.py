"""Parcels: the same content is the same bytes, and is sent once."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import boto3
import pytest

from sluice.extras.sagemaker.settings import require
from sluice.extras.sagemaker.source_archives import pack, send
from support.aws.sagemaker_runs import BUCKET, account, write_settings


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "tree" / name for name in ("b.txt", "a.txt", "deep/run.sh")]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    made[2].chmod(0o755)
    return made


def test_times_order_and_owners_do_not_count(files: list[Path], tmp_path: Path) -> None:
    base = tmp_path / "tree"
    pack(base, files, tmp_path / "one")
    os.utime(files[0], (1, 1))
    pack(base, [*reversed(files), base / "deep"], tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(tmp_path / "one") as packed:
        held = {entry.name: (entry.mode, entry.mtime, entry.uid) for entry in packed}
    assert held == {"a.txt": (0o644, 0, 0), "b.txt": (0o644, 0, 0), "deep/run.sh": (0o755, 0, 0)}


def test_what_is_there_is_not_sent_again(
    files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loopback: None,  # noqa: ARG001 - this machine
) -> None:
    write_settings(tmp_path)
    settings = require(tmp_path)
    with account(monkeypatch):
        s3 = boto3.client("s3")
        first = send(s3, settings, tmp_path / "tree", files)
        (before,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
        assert send(s3, settings, tmp_path / "tree", files) == first
        (after,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
        assert before["LastModified"] == after["LastModified"]
        files[0].write_text("other")
        assert send(s3, settings, tmp_path / "tree", files) != first
    assert first.startswith(f"s3://{BUCKET}/training/sources/")
