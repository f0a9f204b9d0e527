from __future__ import annotations

import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sluice.serving.telemetry.export_queue import SpansLostError
from sluice.serving.telemetry.spool import TraceSpool, waiting


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_a_file_that_is_loaded_is_not_written_any_more(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    assert waiting(folder) == []
    writer = TraceSpool(folder, most_bytes=1000)
    writer.write("one\n")
    writer.write("two\n")
    (first,) = waiting(folder)
    writer.write("three\n")
    assert first.read_bytes() == b"one\ntwo\n"
    assert [path.read_bytes() for path in waiting(folder)] == [b"one\ntwo\n", b"three\n"]


def test_all_files_together_have_a_limit(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    writer = TraceSpool(folder, most_bytes=10)
    writer.write("12345678\n")
    with pytest.raises(SpansLostError) as raised:
        writer.write("x\n")
    assert raised.value.reason == "spool_full"
    waiting(folder)[0].unlink()
    writer.write("x\n")
    assert content(folder) == b"x\n"


def test_several_services_and_a_reader_lose_no_line(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    line = "x" * 5000 + "\n"

    def write() -> None:
        writer = TraceSpool(folder, most_bytes=1 << 30)
        for _ in range(50):
            writer.write(line)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        waiting(folder)
    assert content(folder).decode() == line * 200


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path) -> None:
    # A limit on the size of files fails a write in the middle, as a full disk does.
    code = f"""
import resource, signal
from pathlib import Path
from sluice.serving.telemetry.export_queue import SpansLostError
from sluice.serving.telemetry.spool import TraceSpool, waiting
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
writer = TraceSpool(Path({str(tmp_path / "traces")!r}), most_bytes=1000)
writer.write("12345\\n")
try:
    writer.write("67890\\n")
except SpansLostError as error:
    print(error.reason)
waiting(Path({str(tmp_path / "traces")!r}))
writer.write("abcde\\n")
"""
    assert resource.RLIMIT_FSIZE
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("disk\n", "")
    assert [path.read_bytes() for path in waiting(tmp_path / "traces")] == [b"12345\n", b"abcde\n"]


def test_a_folder_that_was_taken_away_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    writer = TraceSpool(folder, most_bytes=1000)
    writer.write("one\n")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    writer.write("two\n")
    assert [path.read_bytes() for path in waiting(folder)] == [b"two\n"]
