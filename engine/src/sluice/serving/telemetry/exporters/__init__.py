"""Trace exporters, one file each: `open_exporter(settings, state)` gives a TraceExporter, or raises SluiceError."""
