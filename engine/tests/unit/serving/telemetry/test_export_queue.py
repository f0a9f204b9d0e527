import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

from sluice.core.processes import wait_until
from sluice.extras.traces.exporters.mlflow import SpoolExporter
from sluice.serving.telemetry import export_queue
from sluice.serving.telemetry.export_queue import OPEN_FILE, ExportQueue, SpansLostError, TraceExporter

SAMPLED = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class Sink(TraceExporter):
    """Keeps what it is given; `fail` is raised first, so often as `times` says."""

    def __init__(self, fail: Exception | None = None, times: int = 0) -> None:
        self.got: list[int] = []
        self.batches: list[int] = []
        self.fail = fail
        self.times = times
        self.lost: Counter[str] = Counter()
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        self.gate.wait()
        if self.times and self.fail:
            self.times -= 1
            raise self.fail
        self.got += [int(span.name) for span in spans]
        self.batches.append(len(spans))

    def shutdown(self) -> None:
        self.closed += 1

    def queue(self, capacity: int = 100) -> ExportQueue:
        return ExportQueue("test", self, lambda reason, many: self.lost.update({reason: many}), capacity=capacity)


def put(queue: ExportQueue, *numbers: int) -> None:
    for number in numbers:
        queue.on_end(ReadableSpan(str(number), SAMPLED))


@pytest.fixture
def batches_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda size: monkeypatch.setattr(export_queue, "_BATCH", size)


def test_everything_arrives_in_order_and_in_batches(batches_of: Callable[[int], None]) -> None:
    batches_of(10)
    sink = Sink()
    queue = sink.queue(capacity=1000)
    put(queue, *range(105))
    assert queue.close(60)
    assert sink.got == list(range(105))
    assert max(sink.batches) == 10
    assert sink.closed == 1
    assert not sink.lost


def test_a_sink_that_stands_still_costs_spans_and_no_time(batches_of: Callable[[int], None]) -> None:
    batches_of(5)
    sink = Sink()
    sink.gate.clear()
    queue = sink.queue(capacity=10)
    put(queue, *range(10_000))  # one that waited would wait for ever: the gate opens after the last
    assert len(queue) == 10
    assert not queue.close(0.2)
    assert sink.lost == {"queue_full": 9_990, "shutdown": 10}
    sink.gate.set()
    assert wait_until(lambda: bool(sink.got), seconds=60)
    assert sink.lost == {"queue_full": 9_990, "shutdown": 10}, "what is given up is counted once"


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (SpansLostError("refused"), {"refused": 2}),
        (SpansLostError("rejected", count=1), {"rejected": 1}),
        (ZeroDivisionError(), {"failed": 2}),
    ],
)
def test_what_is_lost_is_counted(batches_of: Callable[[int], None], error: Exception, lost: dict[str, int]) -> None:
    batches_of(2)
    sink = Sink(error, times=1)
    queue = sink.queue()
    put(queue, *range(4))
    assert queue.close(60)
    assert (sink.got, dict(sink.lost)) == ([2, 3], lost)


def test_an_outage_is_told_once(batches_of: Callable[[int], None], caplog: pytest.LogCaptureFixture) -> None:
    batches_of(1)
    sink = Sink(SpansLostError("refused", "status 403"), times=3)
    queue = sink.queue()
    put(queue, *range(4))
    queue.close(60)
    assert [record.message for record in caplog.records] == [
        "telemetry test: not delivered: SpansLostError: status 403",
        "telemetry test: delivering again",
    ]


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_all_files_together_have_a_limit(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    writer = SpoolExporter(folder, most_bytes=10)
    writer.append(b"12345678\n")
    with pytest.raises(SpansLostError) as raised:
        writer.append(b"x\n")
    assert raised.value.reason == "spool_full"
    (folder / OPEN_FILE).unlink()
    writer.append(b"x\n")
    assert content(folder) == b"x\n"
    assert (folder / OPEN_FILE).stat().st_mode & 0o777 == 0o600  # weakness 10: it may hold what people wrote


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path) -> None:
    # A limit on the size of files fails a write in the middle, as a full disk does.
    code = f"""
import resource, signal
from pathlib import Path
from sluice.serving.telemetry.export_queue import SpansLostError
from sluice.extras.traces.exporters.mlflow import SpoolExporter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
folder = Path({str(tmp_path / "traces")!r})
writer = SpoolExporter(folder, most_bytes=1000)
writer.append(b"12345\\n")
try:
    writer.append(b"67890\\n")
except SpansLostError as error:
    print(error.reason)
(folder / "spans.jsonl").rename(folder / "1.jsonl")
writer.append(b"abcde\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("disk\n", "")
    assert [path.read_bytes() for path in sorted((tmp_path / "traces").iterdir())] == [b"12345\n", b"abcde\n"]
