"""The status of a project: its record, the last verdicts, the service, the error budget, and what is not well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.status.prometheus_status import (
    OBJECTIVE,
    WINDOW,
    NamespaceFigures,
    PrometheusStatus,
    budget_left,
    read_prometheus,
)
from sluice.extras.status.service_status import ServiceFigures, ServiceStatus, read_service
from sluice.release.environment_record import CLOSED_BY, EnvironmentRecord, RecordEvent
from sluice.release.gates import load_gates
from sluice.release.manifest import load

_EVENTS = 5


@dataclass(frozen=True)
class ErrorBudget:
    """`left`: share of the errors that the objective allows; below 0 it is overdrawn."""

    where: str
    window: str
    objective: float
    questions: float
    errors: float
    left: float


@dataclass(frozen=True)
class ReleaseVerdict:
    """What became of a release. `state`: passed, failed, open, or unknown where its files are not on this machine."""

    release: str
    state: str
    title: str
    reason: str


@dataclass(frozen=True)
class WorkspaceStatus:
    """`verdicts`: of the champion, and of what was rejected lately. `problems`: what is not well, a sentence each; none
    when all is."""

    environment: str
    champion: RecordEvent | None
    events: tuple[RecordEvent, ...]
    verdicts: tuple[ReleaseVerdict, ...]
    service: ServiceStatus
    cluster: PrometheusStatus | None
    budgets: tuple[ErrorBudget, ...]
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        champion = self.champion.model_dump(mode="json") if self.champion else None
        events = [event.model_dump(mode="json") for event in self.events]
        return asdict(self) | {"champion": champion, "events": events}


def read_status(
    workspace: Workspace, record: EnvironmentRecord, url: str, key: str, prometheus: str = ""
) -> WorkspaceStatus:
    """Reads the record, asks the service and, where one is named, Prometheus.

    Args:
        workspace: The checkout.
        record: Of the environment.
        url: Of the service.
        key: For its metrics; empty for none.
        prometheus: Its address; empty for none.

    Raises:
        SluiceError: config/gates.yaml or the record cannot be read, or Prometheus does not answer.
    """
    gates = load_gates(workspace.config / "gates.yaml")
    objective = next((gate.limit for gate in gates if gate.name == OBJECTIVE), None)
    cluster = read_prometheus(prometheus) if prometheus else None
    service = read_service(url, key)
    champion = record.champion()
    # An intent says nothing beside what closed it; one that nothing closed is a problem.
    events = tuple(islice((event for event in record.newest() if event.event not in CLOSED_BY), _EVENTS))
    judged = [*([champion.id] if champion else []), *(event.id for event in events if event.event == "rejected")]
    verdicts = tuple(_verdict(workspace, release) for release in dict.fromkeys(judged))
    budgets = tuple(_budgets(service, cluster, objective))
    problems = [*_problems(record, champion, service, cluster, budgets)]
    if objective is None:
        problems.append(f"config/gates.yaml has no gate {OBJECTIVE}: without an objective there is no error budget")
    return WorkspaceStatus(record.environment, champion, events, verdicts, service, cluster, budgets, tuple(problems))


def _verdict(workspace: Workspace, release: str) -> ReleaseVerdict:
    folder = workspace.releases / release
    if not folder.is_dir():
        return ReleaseVerdict(release, "unknown", "not on this machine", "")
    rehearsed = folder / "rehearsal.json"
    try:
        gates, rehearsal = load(folder).gates, read_json(rehearsed) if rehearsed.is_file() else None
    except SluiceError as error:
        return ReleaseVerdict(release, "unknown", "its files cannot be read", error.message)
    if failed := [gate for gate in gates if not gate.passed]:
        return ReleaseVerdict(release, "failed", f"{len(failed)} of {len(gates)} gates", failed[0].reason)
    if rehearsal and rehearsal.get("verdict") != "passed":
        return ReleaseVerdict(release, "failed", "stopped in the canary", str(rehearsal.get("reason", "")))
    if not gates or not rehearsal:
        title = f"{len(gates)} gates held, not rehearsed here" if gates else "judged by no gate"
        return ReleaseVerdict(release, "open", title, "")
    return ReleaseVerdict(release, "passed", f"{len(gates)} gates and every canary step held", "")


def _budgets(
    service: ServiceStatus, cluster: PrometheusStatus | None, objective: float | None
) -> Iterator[ErrorBudget]:
    known: list[tuple[str, str, NamespaceFigures | ServiceFigures]] = []
    if cluster:
        known += [(f"{one.project} {one.namespace}".strip(), WINDOW, one) for one in cluster.namespaces]
    if service.figures:
        known.append((service.url, "since its start", service.figures))
    for where, window, one in known:
        left = budget_left(one.questions, one.errors, objective)
        if objective is not None and left is not None:
            yield ErrorBudget(where, window, objective, one.questions, one.errors, left)


def _problems(
    record: EnvironmentRecord,
    champion: RecordEvent | None,
    service: ServiceStatus,
    cluster: PrometheusStatus | None,
    budgets: tuple[ErrorBudget, ...],
) -> Iterator[str]:
    if champion is None:
        yield "nothing was ever promoted"
    if pending := record.pending():
        yield f"{pending.event} {pending.id} was begun and not ended ({pending.time})"
    if unknown := record.unknown():
        yield f"how {unknown.id} ended is not known: its run was lost"
    if service.state != "ready":
        yield f"{service.url}: {service.state}"
    if service.reached and champion and service.release != champion.id:
        yield f"{service.url} serves {service.release}, the record says {champion.id}"
    if service.fault:
        yield f"{service.url} injects a fault: {service.fault}"
    if service.other_code:
        yield f"{service.url} runs other code than the release was evaluated with"
    if service.missing:
        yield service.missing
    for provider in service.figures.open_providers if service.figures else ():
        yield f"the circuit breaker of the provider {provider} is open"
    for budget in budgets:
        if budget.left <= 0:
            yield f"{budget.where}: the error budget is used up ({budget.errors:.0f} errors, {budget.window})"
    if cluster and not cluster.namespaces:
        yield "Prometheus has read no pod of the service"
    yield from (f"{alert} fires" for alert in (cluster.alerts if cluster else ()))
