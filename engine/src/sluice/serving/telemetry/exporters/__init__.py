"""Trace exporters: one file and one line each. An exporter is imported only when config/telemetry.yaml names it.

A module has `open_exporter(settings, state)`, which gives a TraceExporter or raises SluiceError when its settings
cannot work. To add one, write its file and its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.serving.telemetry.export_queue import TraceExporter
    from sluice.serving.telemetry.settings import TraceSettings

EXPORTERS: Mapping[str, str] = {
    "langfuse": "sluice.serving.telemetry.exporters.langfuse",
    "mlflow": "sluice.serving.telemetry.exporters.mlflow",
    "otlp": "sluice.serving.telemetry.exporters.otlp",
}


def open_exporter(name: str, settings: TraceSettings, state: Path) -> TraceExporter:
    """`state`: the .sluice/ folder. SluiceError when the settings of the exporter cannot work."""
    exporter: TraceExporter = import_module(EXPORTERS[name]).open_exporter(settings, state)
    return exporter
