"""Files are set aside under the lock of the services that write them."""

from __future__ import annotations

from pathlib import Path

from sluice.extras.traces.mlflow_import import waiting
from sluice.serving.telemetry.spool import TraceSpool
from support.telemetry.spooling import LINE, LINES, start_writers


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
    threads = start_writers(folder)
    while any(thread.is_alive() for thread in threads):
        waiting(folder)
    assert b"".join(path.read_bytes() for path in folder.iterdir()) == LINE * LINES
