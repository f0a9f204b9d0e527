"""The metrics that alerts and dashboards may ask for: those of the service, and of the exporters in exporters.yaml."""

from pathlib import Path

import yaml

from sluice.serving.service_metrics import ServiceMetrics

EXPORTERS = yaml.safe_load(Path(__file__).with_name("exporters.yaml").read_text())
# Of the target that Prometheus reads.
_TARGET = {"project", "namespace"}


def metrics() -> dict[str, set[str]]:
    found = {name: {*labels, *one["labels"]} for one in EXPORTERS for name, labels in one["metrics"].items()}
    for collector in ServiceMetrics("r-0123456789ab", lambda: 0).registry._collector_to_names:
        for metric in collector.describe() if hasattr(collector, "describe") else ():
            ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""])
            for end in ends:
                labels = {*getattr(collector, "_labelnames", ()), *_TARGET}
                found[metric.name + end] = labels | ({"le"} if end == "_bucket" else set())
    return found
