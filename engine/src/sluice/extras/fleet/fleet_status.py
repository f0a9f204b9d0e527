"""The status of a whole fleet, as a table and as one HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluice.core.html_theme import page_environment
from sluice.extras.fleet.fleet_file import FleetFile
from sluice.extras.fleet.project_status import ProjectStatus, StatusReader
from sluice.extras.fleet.repository_reader import AT_ONCE, template_mirror

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class FleetStatus:
    time: str
    template: str
    newest: str
    projects: tuple[ProjectStatus, ...]

    @property
    def unhealthy(self) -> list[ProjectStatus]:
        return [one for one in self.projects if not one.healthy]

    def as_dict(self) -> dict[str, Any]:
        projects = [{**one.model_dump(mode="json"), "healthy": one.healthy} for one in self.projects]
        return {**vars(self), "projects": projects}


def read_status(fleet: FleetFile, environment: Mapping[str, str], folder: Path) -> FleetStatus:
    template, versions = template_mirror(fleet, environment, folder)
    reader = StatusReader(fleet.rules, template, versions, environment, folder)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        projects = tuple(pool.map(reader.read, fleet.projects))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return FleetStatus(now, fleet.template, versions[-1], projects)


def table(status: FleetStatus) -> str:
    head = ("project", "ring", "engine", "behind", "live", "last verdict")
    rows = [head, *map(_row, status.projects)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number:
            lines += [f"    {what}: {said}" for what, said in details(status.projects[number - 1])]
    count, unhealthy = len(status.projects), len(status.unhealthy)
    newest = f"newest engine {status.newest}"
    return "\n".join([*lines, "", f"{count} projects, {unhealthy} to look at; {newest}"]) + "\n"


def _row(one: ProjectStatus) -> tuple[str, ...]:
    behind = "?" if one.behind is None else str(one.behind)
    live = next((live.release for live in reversed(one.live) if live.release), "")
    when = one.verdict_time[:16].replace("T", " ")
    verdict = f"{one.verdict.partition(':')[0]} {when}".strip()
    return one.repository, one.ring, one.version or "?", behind, live or "-", verdict or "-"


def details(one: ProjectStatus) -> Iterator[tuple[str, str]]:
    """Yield remarks on a project with their subjects, the gravest first."""
    if one.fault:
        yield "not read", one.fault
    yield from (("rule broken", rule) for rule in one.broken)
    yield from (("note", note) for note in one.notes)
    yield from (("adopted, edited", path) for path in one.adopted)
    yield from (("gate loosened", str(gate)) for gate in one.loosened if f"gate {gate}" not in one.broken)
    if one.gates_note:
        yield "gates", one.gates_note
    if one.advisories:
        yield "open advisories", str(one.advisories) if one.advisories < 100 else "100 or more"
    yield from (("open issue", f"{issue.marker} {issue.url}") for issue in one.issues)


def page(status: FleetStatus) -> str:
    known = Counter(one.version or "not known" for one in status.projects)
    ordered = sorted(known.items(), key=lambda item: (-item[1], item[0]))
    ordered_projects = sorted(status.projects, key=lambda one: one.healthy)
    projects = [(one, _row(one), list(details(one))) for one in ordered_projects]
    template = page_environment(_TEMPLATES).get_template("fleet.html.j2")
    return template.render(status=status, versions=ordered, projects=projects)
