"""The status of a fleet for people and machines: a table, one HTML page without a script, the text of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from sluice.core.html_theme import page_environment
from sluice.extras.fleet.fleet_status import FleetStatus
from sluice.extras.fleet.project_status import ProjectStatus

_TEMPLATES = Path(__file__).parent / "templates"


def table(status: FleetStatus) -> str:
    """One line for each project, and below it what is wrong with it."""
    head = ("project", "ring", "engine", "behind", "live", "last verdict")
    served = status.telemetry == ""
    rows: list[tuple[str, ...]] = [(*head, "budget", "cost") if served else head]
    rows += [(*_row(one), *budget_and_cost(one)) if served else _row(one) for one in status.projects]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number:
            lines += [f"    {what}: {said}" for what, said in details(status.projects[number - 1])]
    count, unhealthy = len(status.projects), len(status.unhealthy)
    newest = f"newest engine {status.newest}"
    ended = [f"telemetry: {status.telemetry}"] if status.telemetry else []
    return "\n".join([*lines, "", *ended, f"{count} projects, {unhealthy} to look at; {newest}"]) + "\n"


def _row(one: ProjectStatus) -> tuple[str, ...]:
    behind = "?" if one.behind is None else str(one.behind)
    live = next((live.release for live in reversed(one.live) if live.release), "")
    when = one.verdict_time[:16].replace("T", " ")
    verdict = f"{one.verdict.partition(':')[0]} {when}".strip()
    return one.repository, one.ring, one.version or "?", behind, live or "-", verdict or "-"


def budget_and_cost(one: ProjectStatus) -> tuple[str, str]:
    """What is left of the error budget where least of it is, and the cost of all namespaces, of 30 days."""
    left = min((each.budget for each in one.served if each.budget is not None), default=None)
    cost = f"${sum(each.dollars for each in one.served):.2f}" if one.served else "-"
    return ("-" if left is None else f"{left:.0%}"), cost


def details(one: ProjectStatus) -> Iterator[tuple[str, str]]:
    """What a person should know of a project: (what, how it is), the gravest first."""
    if one.fault:
        yield "not read", one.fault
    yield from (("rule broken", rule) for rule in one.broken)
    yield from (("note", note) for note in one.notes)
    yield from (("adopted, edited", path) for path in one.adopted)
    yield from (("gate loosened", str(gate)) for gate in one.loosened if f"gate {gate}" not in one.broken)
    if one.gates_note:
        yield "gates", one.gates_note
    for each in one.served:
        if each.budget is not None and each.budget <= 0:
            yield "error budget", f"{each.namespace}: used up, {each.budget:.0%} left of 30 days"
    if one.drift:
        yield "drift", "the traffic has drifted from the evaluation set"
    if one.advisories:
        yield "open advisories", str(one.advisories) if one.advisories < 100 else "100 or more"
    yield from (("open issue", f"{issue.marker} {issue.url}") for issue in one.issues)


def page(status: FleetStatus) -> str:
    """One HTML page for people; it needs nothing from elsewhere and runs no script."""
    known = Counter(one.version or "not known" for one in status.projects)
    ordered = sorted(known.items(), key=lambda item: (-item[1], item[0]))
    projects = [
        (one, _row(one), list(details(one)), budget_and_cost(one))
        for one in sorted(status.projects, key=lambda one: one.healthy)
    ]
    template = page_environment(_TEMPLATES).get_template("fleet.html.j2")
    return template.render(status=status, versions=ordered, projects=projects)


def metrics(status: FleetStatus) -> str:
    """Gauges in Prometheus' text format, one series for each repository. What is not known has none."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    labels = ("project", "repository", "ring")

    def gauge(name: str, text: str, *more: str) -> Gauge:
        return Gauge(f"sluice_fleet_{name}", text, (*labels, *more), registry=registry)

    readable = gauge("readable", "1 where the repository could be read whole")
    engine = gauge("engine_info", "The engine's version", "version")
    behind = gauge("versions_behind", "Released versions of the template after the project's own")
    live = gauge("live_info", "The release that an environment serves", "environment", "release")
    verdict = gauge("verdict_timestamp_seconds", "When the record of the last environment was last added to")
    advisories = gauge("open_advisories", "Open alerts of Dependabot, a hundred at most")
    drift = gauge("drift", "1 where the traffic has drifted from the evaluation set")
    counts = {
        field: gauge(name, text)
        for field, name, text in (
            ("edited", "edited_files", "Files of the engine that differ from the template's"),
            ("loosened", "loosened_gates", "Gates that let pass what the template's refuse"),
            ("missing", "missing_extras", "Extras that the rules ask for and the project lacks"),
            ("broken", "broken_rules", "Rules of fleet.yaml that the project does not keep to"),
        )
    }
    read = Gauge("sluice_fleet_read_timestamp_seconds", "When the status was read", registry=registry)
    read.set(datetime.fromisoformat(status.time).timestamp())
    for one in status.projects:
        own = (one.project or one.repository.partition("/")[2], one.repository, one.ring)
        readable.labels(*own).set(not one.fault)
        if one.version:
            engine.labels(*own, one.version).set(1)
            for field, count in counts.items():
                count.labels(*own).set(len(getattr(one, field)))
        if one.behind is not None:
            behind.labels(*own).set(one.behind)
        for each in one.live:
            if each.release:
                live.labels(*own, each.environment, each.release).set(1)
        if one.advisories is not None:
            advisories.labels(*own).set(one.advisories)
        if one.verdict_time:
            verdict.labels(*own).set(datetime.fromisoformat(one.verdict_time).timestamp())
        if one.drift is not None:
            drift.labels(*own).set(one.drift)
    return generate_latest(registry).decode()
