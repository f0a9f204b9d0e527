import errno
import os
from pathlib import Path

import pytest

from sluice.core.atomic_files import read_json, read_jsonl, write_atomic, write_json, write_jsonl
from sluice.core.errors import SluiceError


def test_write_atomic_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "f.txt"
    write_atomic(path, "one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["f.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_leaves_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    path = tmp_path / "f.json"
    write_json(path, {"old": True})

    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SluiceError, match="no space left on the disk") as caught:
        write_json(path, {"new": True})
    assert str(tmp_path) in caught.value.message
    assert caught.value.remedy
    assert read_json(path) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"]


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "broken disk"), KeyboardInterrupt()])
def test_other_failures_leave_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException) -> None:
    def fail(_: int) -> None:
        raise fault

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(fault)):
        write_atomic(tmp_path / "f", "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_read_json_names_a_broken_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(content)
    with pytest.raises(SluiceError, match=r"f\.json: not valid JSON"):
        read_json(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_json, read_jsonl):
        with pytest.raises(SluiceError, match="gone: no such file"):
            read(tmp_path / "gone")


def test_jsonl_round_trip_with_line_separators_inside_strings(tmp_path: Path) -> None:
    rows = [{"text": "a\u2028b\u2029c\x85d\x0be\nf"}, {"text": "漢字 😀"}, {}]
    write_jsonl(tmp_path / "f.jsonl", rows)
    assert read_jsonl(tmp_path / "f.jsonl") == rows


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ('{"a": 1}\n\n{"a": \n', "f.jsonl:3: not valid JSON"),
        ('{"a": 1}\n[1]\n', "f.jsonl:2: expected an object, found list"),
        ("1", "f.jsonl:1: expected an object, found int"),
    ],
)
def test_jsonl_names_the_line(tmp_path: Path, content: str, place: str) -> None:
    (tmp_path / "f.jsonl").write_text(content)
    with pytest.raises(SluiceError) as caught:
        read_jsonl(tmp_path / "f.jsonl")
    assert place in caught.value.message
