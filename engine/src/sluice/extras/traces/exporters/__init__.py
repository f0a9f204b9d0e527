"""Trace exporters, one file each: `open_exporter(settings, state)` gives a TraceExporter, or raises SluiceError."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from sluice.serving.telemetry.export_queue import TraceExporter
from sluice.serving.telemetry.settings import TraceSettings

_MODULES = {
    "langfuse": "sluice.extras.traces.exporters.langfuse",
    "mlflow": "sluice.extras.traces.exporters.mlflow",
    "otlp": "sluice.extras.traces.exporters.otlp",
}


def open_exporters(settings: TraceSettings, state: Path) -> dict[str, TraceExporter]:
    """Open those that config/telemetry.yaml names and import no other; `state` is the folder .sluice/."""
    return {name: import_module(_MODULES[name]).open_exporter(settings, state) for name in settings.exporters}
