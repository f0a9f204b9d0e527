"""Telemetry of the service: traces, user scores, structured logs. Metrics are in serving/service_metrics.py."""
