"""Several services that write to one spool of traces at the same time."""

from __future__ import annotations

import threading
from pathlib import Path

from sluice.extras.traces.exporters.mlflow import SpoolExporter

LINE = b"x" * 5000 + b"\n"
LINES = 200  # of all writers together


def start_writers(folder: Path) -> list[threading.Thread]:
    """Starts four writers, each with a spool of its own over the folder."""

    def write() -> None:
        writer = SpoolExporter(folder, most_bytes=1 << 30)
        for _ in range(LINES // 4):
            writer.append(LINE)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    return threads
