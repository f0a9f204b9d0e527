"""The status of a whole fleet: every project read, a few at a time, whatever becomes of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.git import run
from sluice.extras.fleet.fleet_file import FleetFile
from sluice.extras.fleet.git_mirror import GitMirror
from sluice.extras.fleet.github_reader import clone_address
from sluice.extras.fleet.project_status import ProjectStatus, StatusReader
from sluice.extras.fleet.prometheus_status import NamespaceFigures, read_prometheus
from sluice.extras.upgrade.versions import address_of, released

AT_ONCE = 8  # GitHub refuses more than a hundred requests at a time, of all that use the token
_TAGS = "refs/tags/v*"


@dataclass(frozen=True)
class FleetStatus:
    """`versions`: released ones of the template, the newest last. `projects`: in the order of fleet.yaml. `telemetry`:
    why it could not be read; empty where it was, None where it was not asked."""

    time: str
    template: str
    versions: tuple[str, ...]
    projects: tuple[ProjectStatus, ...]
    telemetry: str | None = None

    @property
    def newest(self) -> str:
        """The newest version; empty where none is released."""
        return self.versions[-1] if self.versions else ""

    @property
    def unhealthy(self) -> list[ProjectStatus]:
        """Projects that break a rule or could not be read."""
        return [one for one in self.projects if not one.healthy]

    def as_dict(self) -> dict[str, Any]:
        """status.json: plain JSON values."""
        projects = [{**one.model_dump(mode="json"), "healthy": one.healthy} for one in self.projects]
        about = {"time": self.time, "template": self.template, "newest": self.newest, "telemetry": self.telemetry}
        return {**about, "projects": projects}


def template_mirror(fleet: FleetFile, environment: Mapping[str, str], folder: Path) -> tuple[GitMirror, list[str]]:
    """The released versions of the template, fetched; and their numbers, the newest last."""
    named = address_of(fleet.template) != fleet.template  # owner/name
    address = clone_address(fleet.template, environment) if named else fleet.template
    mirror = GitMirror(folder / "git" / "template.git", address, environment)
    mirror.fetch(f"+{_TAGS}:{_TAGS}")
    if versions := released(mirror.folder, str(mirror.folder)):
        return mirror, versions
    raise SluiceError(f"{fleet.template}: no released version", remedy="the template has tags such as v0.2.0")


def read_status(fleet: FleetFile, environment: Mapping[str, str], folder: Path, telemetry: str = "") -> FleetStatus:
    """Reads every project."""
    template, versions = template_mirror(fleet, environment, folder)
    figures, note = _telemetry(telemetry)
    reader = StatusReader(fleet.rules, template, versions, environment, folder, figures)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        projects = tuple(pool.map(reader.read, fleet.projects))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return FleetStatus(now, fleet.template, tuple(versions), projects, note)


def _telemetry(url: str) -> tuple[Sequence[NamespaceFigures], str | None]:
    if not url:
        return (), None
    try:
        return read_prometheus(url).namespaces, ""
    except SluiceError as error:  # what GitHub holds is told all the same
        return (), error.message.removeprefix(f"{url}: ")  # the page may be published


def commit_of(template: GitMirror, version: str) -> str:
    """The commit of a version of the template."""
    return run(template.folder, "rev-parse", f"refs/tags/v{version}^{{commit}}")
