"""Trace exporters: one file each, and its name here. An exporter is imported only when config/telemetry.yaml names it.

A module has `open_exporter(settings, state)`, which gives a TraceExporter or raises SluiceError when its settings
cannot work. To add one, write its file and its name.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.serving.telemetry.export_queue import TraceExporter
    from sluice.serving.telemetry.settings import TraceSettings

EXPORTERS = ("langfuse", "mlflow", "otlp")


def open_exporter(name: str, settings: TraceSettings, state: Path) -> TraceExporter:
    """`state`: the .sluice/ folder. SluiceError when the settings of the exporter cannot work."""
    exporter: TraceExporter = import_module(f"{__name__}.{name}").open_exporter(settings, state)
    return exporter
