from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.serving.telemetry.export_queue import OPEN_FILE, SpansLostError, TraceSpool
from support.telemetry.spooling import LINE, LINES, start_writers


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_all_files_together_have_a_limit(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    writer = TraceSpool(folder, most_bytes=10)
    writer.append(b"12345678\n")
    with pytest.raises(SpansLostError) as raised:
        writer.append(b"x\n")
    assert raised.value.reason == "spool_full"
    (folder / OPEN_FILE).unlink()
    writer.append(b"x\n")
    assert content(folder) == b"x\n"
    assert (folder / OPEN_FILE).stat().st_mode & 0o777 == 0o600  # weakness 10: it may hold what people wrote


def test_several_services_lose_no_line(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    threads = start_writers(folder)
    for thread in threads:
        thread.join()
    assert content(folder) == LINE * LINES


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path) -> None:
    # A limit on the size of files fails a write in the middle, as a full disk does.
    code = f"""
import resource, signal
from pathlib import Path
from sluice.serving.telemetry.export_queue import SpansLostError
from sluice.serving.telemetry.export_queue import TraceSpool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
folder = Path({str(tmp_path / "traces")!r})
writer = TraceSpool(folder, most_bytes=1000)
writer.append(b"12345\\n")
try:
    writer.append(b"67890\\n")
except SpansLostError as error:
    print(error.reason)
(folder / "spans.jsonl").rename(folder / "1.jsonl")
writer.append(b"abcde\\n")
"""
    assert resource.RLIMIT_FSIZE
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("disk\n", "")
    assert [path.read_bytes() for path in sorted((tmp_path / "traces").iterdir())] == [b"12345\n", b"abcde\n"]
