"""What a Prometheus knows of the project: pods by release, questions of 30 days, alerts that fire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sluice.core.errors import SluiceError
from sluice.rollout.chat_stream import request
from sluice.serving.middleware import CHAT

WINDOW = "30d"
OBJECTIVE = "success_rate"  # the gate: what a canary must give in minutes, a service gives in a month
_SECONDS = 20.0
_BY = "sum by (project, namespace)"
# A selector for all but what callers got wrong, and one for server errors.
_QUESTIONS = f'{_BY} (increase(sluice_requests_total{{route="{CHAT}", status!~"4.."}}[{WINDOW}]))'
_ERRORS = f'{_BY} (increase(sluice_requests_total{{route="{CHAT}", status=~"5.."}}[{WINDOW}]))'
_COST = f"{_BY} (increase(sluice_cost_total[{WINDOW}]))"
_PODS = "count by (project, namespace, release) (sluice_in_flight)"
_ALERTS = 'ALERTS{alertname=~"Sluice.+", alertstate="firing"}'

Labels = dict[str, str]


@dataclass(frozen=True)
class NamespaceFigures:
    """A project in a namespace: pods by release; questions, server errors and US dollars of the window."""

    project: str
    namespace: str
    pods: dict[str, int]
    questions: float
    errors: float
    dollars: float = 0.0


@dataclass(frozen=True)
class PrometheusStatus:
    """`alerts`: those that fire, each as the alert's name and where."""

    namespaces: tuple[NamespaceFigures, ...]
    alerts: tuple[str, ...]


def read_prometheus(url: str) -> PrometheusStatus:
    """Asks a Prometheus."""
    questions, errors, dollars = (
        {_where(one): value for one, value in _ask(url, query)} for query in (_QUESTIONS, _ERRORS, _COST)
    )
    pods: dict[tuple[str, str], dict[str, int]] = {}
    for labels, value in _ask(url, _PODS):
        pods.setdefault(_where(labels), {})[labels.get("release", "")] = int(value)
    namespaces = tuple(
        NamespaceFigures(*where, pods.get(where, {}), *(each.get(where, 0.0) for each in (questions, errors, dollars)))
        for where in sorted({*pods, *questions})
    )
    return PrometheusStatus(namespaces, tuple(sorted(_alert(labels) for labels, _ in _ask(url, _ALERTS))))


def budget_left(questions: float, errors: float, objective: float | None) -> float | None:
    """The share of the errors that an objective allows which is left; below 0 it is overdrawn. None where there was no
    question, or an objective that allows some."""
    if objective is None or objective >= 1 or not questions:
        return None
    return 1 - errors / questions / (1 - objective)


def _where(labels: Labels) -> tuple[str, str]:
    return labels.get("project", ""), labels.get("namespace", "")


def _alert(labels: Labels) -> str:
    told = ("namespace", "pod", "provider", "service", "job_name", "persistentvolumeclaim", "node", "UUID")
    where = ", ".join(labels[name] for name in told if name in labels)
    return labels["alertname"] + (f" ({where})" if where else "")


def _ask(url: str, query: str) -> list[tuple[Labels, float]]:
    try:
        answer = request(f"{url.rstrip('/')}/api/v1/query?{urlencode({'query': query})}", _SECONDS)
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SluiceError(
            f"{url}: no answer from Prometheus ({type(error).__name__})",
            remedy="kubectl port-forward --namespace monitoring service/prometheus-operated 9090, "
            "then --prometheus http://127.0.0.1:9090",
        ) from error
