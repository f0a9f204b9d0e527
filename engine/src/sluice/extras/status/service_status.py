"""A service as its own pages show it: whether it is ready, what it serves, and its figures since it started."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sluice.rollout.local_http import request
from sluice.serving.middleware import CHAT

_SECONDS = 5.0


@dataclass(frozen=True)
class ServiceFigures:
    """Of questions since the process started; times in seconds, None without any answer. Errors are server errors;
    `questions` leaves out those that the caller got wrong."""

    questions: int
    errors: int
    in_flight: int
    waiting: int
    refused: int
    first_token_p95: float | None
    answer_p95: float | None
    tokens: int
    dollars: float
    open_providers: tuple[str, ...]


@dataclass(frozen=True)
class ServiceStatus:
    """`state`: ready, draining, or why there is none. `missing`: why there are no figures."""

    url: str
    state: str
    release: str = ""
    fault: str = ""
    other_code: tuple[str, ...] = ()
    figures: ServiceFigures | None = None
    missing: str = ""

    @property
    def reached(self) -> bool:
        return bool(self.release)


def read_service(url: str, key: str) -> ServiceStatus:
    """Asks a service for its state, its release and its metrics.

    Args:
        url: Of the service.
        key: With the scope metrics; empty where it asks for none.
    """
    base = url.rstrip("/")
    try:
        ready, version = (request(f"{base}/{page}", _SECONDS) for page in ("readyz", "version"))
        page = request(f"{base}/metrics", _SECONDS, headers={"Authorization": f"Bearer {key}"} if key else {})
        state, served = str(ready.json()["status"]), version.json()
        release, fault, other = str(served["release"]), str(served["fault"] or ""), tuple(served["other_code"])
    except OSError as error:
        return ServiceStatus(url, f"not reached: {error}")
    except (ValueError, KeyError, TypeError):
        return ServiceStatus(url, "another server answers there")
    if page.status_code != 200:
        missing = f"/metrics answers {page.status_code}: SLUICE_METRICS_KEY needs a key with the scope metrics"
        return ServiceStatus(url, state, release, fault, other, missing=missing)
    try:
        return ServiceStatus(url, state, release, fault, other, figures_of(page.text))
    except ValueError as error:
        return ServiceStatus(url, state, release, fault, other, missing=f"/metrics cannot be read: {error}")


def figures_of(page: str) -> ServiceFigures:
    """The figures of a page of metrics.

    Args:
        page: In Prometheus' text format.

    Raises:
        ValueError: It is not of that format.
    """
    from prometheus_client.parser import text_string_to_metric_families

    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    asked = {"sluice_requests_total": [one for one in samples if one.labels.get("route") == CHAT]}

    def values(name: str) -> list[tuple[Mapping[str, str], float]]:
        return [(one.labels, one.value) for one in asked.get(name, samples) if one.name == name]

    def total(name: str) -> float:
        return sum(value for _, value in values(name))

    by_status = [(labels["status"], value) for labels, value in values("sluice_requests_total")]
    answers = [(labels, value) for labels, value in values("sluice_request_seconds_bucket") if labels["route"] == CHAT]
    return ServiceFigures(
        questions=int(sum(value for status, value in by_status if not status.startswith("4"))),
        errors=int(sum(value for status, value in by_status if status.startswith("5"))),
        in_flight=int(total("sluice_in_flight")),
        waiting=int(total("sluice_queue_length")),
        refused=int(total("sluice_shed_total")),
        first_token_p95=quantile(0.95, values("sluice_time_to_first_token_seconds_bucket")),
        answer_p95=quantile(0.95, answers),
        tokens=int(total("sluice_tokens_total")),
        dollars=total("sluice_cost_total"),
        open_providers=tuple(sorted(one["provider"] for one, value in values("sluice_provider_open") if value)),
    )


def quantile(share: float, buckets: Iterable[tuple[Mapping[str, str], Any]]) -> float | None:
    """PromQL's histogram_quantile over classic buckets; None without observations.

    Args:
        share: From 0 to 1.
        buckets: Labels, of which `le` counts, and cumulative counts.
    """
    bounds = [(0.0, 0.0), *sorted((float(labels["le"]), float(count)) for labels, count in buckets)]
    rank = share * bounds[-1][1]
    if not rank:
        return None
    for (low, before), (high, count) in pairwise(bounds):
        if count >= rank:
            return low if math.isinf(high) else low + (high - low) * (rank - before) / (count - before)
    return None
