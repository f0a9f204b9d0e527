"""Trace exporters: one file and one line each. An exporter is imported only when config/telemetry.yaml names it.

A module has `open_exporter(settings, facts, state)`, which gives an Exporter or raises SluiceError when its settings
cannot work. To add one, write its file and its line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sluice.serving.telemetry.settings import TraceSettings
    from sluice.serving.telemetry.spans import FeedbackScore, ProcessFacts
    from sluice.serving.telemetry.traces import Trace

EXPORTERS: Mapping[str, str] = {
    "langfuse": "sluice.serving.telemetry.exporters.langfuse",
    "mlflow": "sluice.serving.telemetry.exporters.mlflow",
    "otlp": "sluice.serving.telemetry.exporters.otlp",
}


class Exporter(Protocol):
    """Used by one thread. Delivering the same items twice must do no harm."""

    def deliver(self, items: Sequence[Trace | FeedbackScore]) -> None:
        """Returns when the items are delivered; RetryLaterError or BatchLostError when they are not."""

    def idle(self) -> None:
        """Called about twice a second by the same thread; must not fail."""

    def close(self) -> None:
        """Gives back what it holds; after it nothing is delivered."""


def open_exporter(name: str, settings: TraceSettings, facts: ProcessFacts, state: Path) -> Exporter:
    """`state`: the .sluice/ folder. SluiceError when the settings of the exporter cannot work."""
    exporter: Exporter = import_module(EXPORTERS[name]).open_exporter(settings, facts, state)
    return exporter
