from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.serving.telemetry import spool
from sluice.serving.telemetry.background_queue import BatchLostError
from sluice.serving.telemetry.spool import TraceSpool, waiting


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_a_file_is_loaded_only_when_it_is_whole(tmp_path: Path) -> None:
    writer = TraceSpool(tmp_path / "traces", most_bytes=1000)
    writer.write([b"one\n", b"two\n"])
    assert waiting(tmp_path / "traces") == []
    writer.close()
    (path,) = waiting(tmp_path / "traces")
    assert path.read_bytes() == b"one\ntwo\n"


def test_an_old_file_becomes_whole_while_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = TraceSpool(tmp_path, most_bytes=1000)
    writer.write([b"one\n"])
    writer.age()
    assert waiting(tmp_path) == []
    monkeypatch.setattr(spool, "_LONGEST_SECONDS", -1)
    writer.age()
    assert len(waiting(tmp_path)) == 1
    writer.write([b"two\n"])
    writer.close()
    assert [path.read_bytes() for path in waiting(tmp_path)] == [b"one\n", b"two\n"]


def test_all_files_together_have_a_limit(tmp_path: Path) -> None:
    writer = TraceSpool(tmp_path, most_bytes=10)
    writer.write([b"12345678\n"])
    with pytest.raises(BatchLostError) as raised:
        writer.write([b"x\n"])
    assert raised.value.reason == "spool_full"
    writer.close()
    waiting(tmp_path)[0].unlink()
    writer.write([b"x\n"])
    assert content(tmp_path) == b"x\n"


def test_what_a_killed_process_left_is_loaded(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f"1-{gone.pid}-1.part").write_bytes(b"one\n")
    (tmp_path / f"2-{os.getpid()}-1.part").write_bytes(b"two\n")
    (tmp_path / "notes.part").write_bytes(b"of somebody else")
    assert [path.name for path in waiting(tmp_path)] == [f"1-{gone.pid}-1.jsonl"]


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path) -> None:
    # A limit on the size of files fails a write in the middle, as a full disk does.
    code = f"""
import resource, signal
from pathlib import Path
from sluice.serving.telemetry.background_queue import BatchLostError
from sluice.serving.telemetry.spool import TraceSpool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
writer = TraceSpool(Path({str(tmp_path)!r}), most_bytes=1000)
writer.write([b"12345\\n"])
try:
    writer.write([b"67890\\n"])
except BatchLostError as error:
    print(error.reason)
writer.write([b"abcde\\n"])
writer.close()
"""
    assert resource.RLIMIT_FSIZE
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("disk\n", "")
    assert [path.read_bytes() for path in waiting(tmp_path)] == [b"12345\n", b"abcde\n"]


def test_a_folder_that_was_taken_away_costs_one_batch(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    writer = TraceSpool(folder, most_bytes=1000)
    writer.write([b"one\n"])
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    writer.close()
    writer.write([b"two\n"])
    writer.close()
    assert [path.read_bytes() for path in waiting(folder)] == [b"two\n"]
