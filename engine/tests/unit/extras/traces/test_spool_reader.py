"""Files are set aside under the lock of the services that write them."""

from __future__ import annotations

import threading
from pathlib import Path

from sluice.extras.traces.spool_reader import waiting
from sluice.serving.telemetry.spool import TraceSpool


def test_a_file_that_is_loaded_is_not_written_any_more(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    assert waiting(folder) == []
    writer = TraceSpool(folder, most_bytes=1000)
    writer.append(b"one\n")
    writer.append(b"two\n")
    (first,) = waiting(folder)
    writer.append(b"three\n")
    assert first.read_bytes() == b"one\ntwo\n"
    assert [path.read_bytes() for path in waiting(folder)] == [b"one\ntwo\n", b"three\n"]


def test_several_services_and_a_reader_lose_no_line(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    line = b"x" * 5000 + b"\n"

    def write() -> None:
        writer = TraceSpool(folder, most_bytes=1 << 30)
        for _ in range(50):
            writer.append(line)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        waiting(folder)
    assert b"".join(path.read_bytes() for path in folder.iterdir()) == line * 200
