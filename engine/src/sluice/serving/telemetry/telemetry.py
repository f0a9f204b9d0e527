"""The service's entry point to telemetry: begins and finishes traces, takes scores, and flushes at the end.

`finish` and `score` take microseconds, never wait and never raise; whatever happens behind them is counted by `lost`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.serving.telemetry.background_queue import BackgroundQueue, close_all
from sluice.serving.telemetry.exporters import Exporter, open_exporter
from sluice.serving.telemetry.service_log import access_line
from sluice.serving.telemetry.settings import SILENT, TelemetrySettings
from sluice.serving.telemetry.spans import FeedbackScore, ProcessFacts
from sluice.serving.telemetry.traces import Sampler, Trace

if TYPE_CHECKING:
    from starlette.types import Scope

    from sluice.serving.release_parts import ReleaseBundle

_log = logging.getLogger(__name__)
Item = Trace | FeedbackScore
_PROBES = {"/healthz", "/readyz", "/metrics"}


class Telemetry:
    """Thread-safe. `on_lost(exporter, reason, count)` is set by the metrics (serving/service_metrics.py)."""

    def __init__(self, settings: TelemetrySettings, facts: ProcessFacts, exporters: dict[str, Exporter]) -> None:
        traces = settings.traces
        self.facts = facts
        self.access = settings.logs.access
        self.on_lost: Callable[[str, str, int], None] = lambda exporter, reason, count: None  # noqa: ARG005
        self._sampler = Sampler(traces.ratio if exporters else 0.0, contents=traces.contents)
        self._flush_seconds = traces.flush_seconds
        self._exporters = exporters
        self._workers: dict[str, BackgroundQueue[Item]] = {
            name: BackgroundQueue(
                name,
                exporter.deliver,
                lambda reason, count, name=name: self.on_lost(name, reason, count),  # type: ignore[misc]
                capacity=traces.queue,
                idle=exporter.idle,
            )
            for name, exporter in exporters.items()
        }

    @property
    def queues(self) -> dict[str, Callable[[], int]]:
        """How many traces and scores wait, by exporter."""
        return {name: worker.__len__ for name, worker in self._workers.items()}

    def log_lost(self, reason: str, count: int) -> None:
        """Lines of the log were lost."""
        self.on_lost("log", reason, count)

    def begin(self, scope: Scope) -> Trace:
        """A trace for a request; a caller's traceparent is honoured."""
        return self._sampler.begin(scope["headers"])

    def finish(self, trace: Trace, status: int, *, chat: bool) -> None:
        """The request has ended: one line in the log, and for sampled questions the trace to the exporters."""
        trace.status = status
        trace.end()
        if status >= 500 and not trace.error:
            trace.fail(str(status))
        # A probe every second that went well is not worth a line.
        if self.access and (status >= 400 or trace.route not in _PROBES):
            access_line(trace)
        if chat and trace.sampled:
            for worker in self._workers.values():
                worker.put(trace)

    def score(self, score: FeedbackScore) -> None:
        """Forwards what a user thinks of an answer to every exporter."""
        for worker in self._workers.values():
            worker.put(score)

    def close(self, seconds: float | None = None) -> bool:
        """Delivers what waits, within `seconds` (default: traces.flush_seconds); what is left is lost and counted."""
        limit = self._flush_seconds if seconds is None else seconds
        began = time.monotonic()
        done = close_all(list(self._workers.values()), limit)
        if not done:
            _log.warning("telemetry: not everything was delivered within %g s", limit)
        for name, exporter in self._exporters.items():
            # One that hangs still uses its connection; the end of the process takes both.
            if not len(self._workers[name]) or time.monotonic() - began < limit:
                exporter.close()
        return done


def silent(release: str) -> Telemetry:
    """Trace ids and nothing else, for tests and for embedded use."""
    return Telemetry(SILENT, ProcessFacts(release, "", ""), {})


@contextmanager
def open_telemetry(settings: TelemetrySettings, bundle: ReleaseBundle, state: Path) -> Iterator[Telemetry]:
    """The exporters that the settings name; flushed at the end. SluiceError when one of them cannot work."""
    from sluice.serving.release_parts import require_prompt

    prompt = require_prompt(bundle)
    facts = ProcessFacts(bundle.release, prompt.name, prompt.digest)
    exporters = {name: open_exporter(name, settings.traces, facts, state) for name in settings.traces.exporters}
    telemetry = Telemetry(settings, facts, exporters)
    try:
        yield telemetry
    finally:
        telemetry.close()
