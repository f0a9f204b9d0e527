"""The status of one project of a fleet, from its repository on GitHub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from sluice.core.settings import Settings
from sluice.extras.fleet.fleet_file import FleetProject, FleetRules
from sluice.extras.fleet.loosened_gates import FILE, LoosenedGate, loosened
from sluice.extras.fleet.repository_reader import (
    GitHubReader,
    GitMirror,
    ProjectFacts,
    in_a_line,
    read_facts,
    read_repository,
)
from sluice.extras.upgrade.versions import order
from sluice.github.github_client import BOT, GitHubStatusError
from sluice.github.tracked_issue import run_of
from sluice.release.artifact_store import ArtifactStore
from sluice.release.environment_record import EnvironmentRecord

_RECORD = "refs/sluice/record"
_REFUSALS = {
    403: "the token may not read it",
    404: "not there, or the token may not read it",
    429: "the rate limit is reached; the next run asks again",
    451: "blocked by GitHub",
}


class LiveRelease(Settings):
    """The release that an environment serves by its record; empty where nothing was promoted."""

    environment: str
    release: str = ""
    since: str = ""


class OpenIssue(Settings):
    """An issue that the engine has opened, by its marker, such as `nightly`."""

    marker: str
    url: str


class ProjectStatus(Settings):
    """A project; `fault` says why it could not be read, and what could not stays empty. `behind` counts the released
    versions after its own, `verdict` is the last event of the environment that users meet, and `broken` names the
    rules of fleet.yaml that it breaks."""

    repository: str
    ring: str
    owners: tuple[str, ...]
    fault: str = ""
    notes: tuple[str, ...] = ()
    project: str = ""
    commit: str = ""
    version: str = ""
    behind: int | None = None
    edited: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    live: tuple[LiveRelease, ...] = ()
    verdict: str = ""
    verdict_time: str = ""
    loosened: tuple[LoosenedGate, ...] = ()
    gates_note: str = ""
    without: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    issues: tuple[OpenIssue, ...] = ()
    advisories: int | None = None
    broken: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        return not self.fault and not self.broken


@dataclass(frozen=True)
class StatusReader:
    rules: FleetRules
    template: GitMirror
    versions: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path

    def read(self, project: FleetProject) -> ProjectStatus:
        """Return the status of a project; whatever goes wrong is its `fault`, never an error."""
        found: dict[str, Any] = {}
        try:
            with read_repository(project.repository, self.environment, self.folder) as reader:
                for more in self._parts(project, reader):
                    found |= more
        except GitHubStatusError as error:
            found["fault"] = _REFUSALS.get(error.status, error.message)
        except Exception as error:  # whatever one repository holds, the others are read
            found["fault"] = in_a_line(error)
        about = {"repository": project.repository, "ring": project.ring, "owners": project.owners}
        return ProjectStatus.model_validate(about | found)

    def _parts(self, project: FleetProject, reader: GitHubReader) -> Iterator[dict[str, Any]]:
        """Yield fields of the status, source by source, so that a refusal keeps what came before."""
        facts, branch, reader = reader.look()
        notes = ["archived"] if facts.get("archived") else []
        if facts["full_name"].lower() != project.repository.lower():
            notes.append(f"renamed to {facts['full_name']}")
        if not branch["protected"]:
            notes.append(f"{facts['default_branch']} is not protected")
        commit = branch["commit"]["sha"]
        yield {"notes": notes, "commit": commit}
        own = read_facts(reader.mirror, commit, self.template)
        yield self._engine(own)
        yield _record(reader, own.environments)
        yield _issues(reader)
        yield _advisories(reader)

    def _engine(self, facts: ProjectFacts) -> dict[str, Any]:
        version, released = facts.version, list(self.versions)
        missing = [name for name in self.rules.extras if name not in facts.extras]
        found: dict[str, Any] = {
            "project": facts.name,
            "version": version,
            "behind": sum(order(one) > order(version) for one in released),
            **{key: getattr(facts, key) for key in ("edited", "adopted", "without")},
            "missing": missing,
        }
        broken = list(facts.edited)
        oldest = self.rules.oldest_engine
        if oldest and order(version) < order(oldest):
            broken.append(f"engine {version}: older than {oldest}")
        broken += [f"extra {name}: missing" for name in missing]
        if version in released:
            theirs = self.template.read(f"refs/tags/v{version}:{FILE}").decode()
            found["loosened"] = changed = loosened(facts.gates, theirs, facts.without)
            broken += [f"gate {one}" for one in changed if {"all", one.name} & {*self.rules.gates}]
        else:
            found["gates_note"] = f"not compared: the template has released no {version}"
            broken += [f"gates {found['gates_note']}"] if self.rules.gates else []
        return found | {"broken": broken}


def _issues(reader: GitHubReader) -> dict[str, Any]:
    """Read the engine's open issues."""
    try:
        listed = reader.get("/issues?state=open&creator=github-actions%5Bbot%5D&per_page=100")
    except GitHubStatusError as error:
        if error.status != 410:  # issues are switched off
            raise
        return {}
    ours = [(run_of(one["body"])[0], one) for one in listed if one["user"]["login"] == BOT]
    ours = [(marker, one) for marker, one in ours if marker and "pull_request" not in one]
    return {"issues": [OpenIssue(marker=marker, url=one["html_url"]) for marker, one in ours]}


def _advisories(reader: GitHubReader) -> dict[str, Any]:
    """Count at most a page of open alerts; they may be switched off, or closed to the token."""
    try:
        return {"advisories": len(reader.get("/dependabot/alerts?state=open&per_page=100"))}
    except GitHubStatusError as error:
        if error.status not in (403, 404):
            raise
        return {}


def _record(reader: GitHubReader, environments: Sequence[str]) -> dict[str, Any]:
    """Read the live releases and the last verdict from refs of the repository; a record may be kept elsewhere."""
    mirror = reader.mirror
    there = {one["ref"]: one["object"]["sha"] for one in reader.get("/git/matching-refs/sluice/record/")}
    if not there:
        return {"verdict": "no record in the repository"}
    if mirror.refs(_RECORD) != there:
        mirror.fetch(f"+{_RECORD}/*:{_RECORD}/*")
    store = cast(ArtifactStore, _RecordRefs(mirror))
    champions = {name: EnvironmentRecord(store, name).champion() for name in environments}
    live = [
        LiveRelease(environment=name, release=one.id, since=one.time) if one else LiveRelease(environment=name)
        for name, one in champions.items()
    ]
    last = next(EnvironmentRecord(store, environments[-1]).newest(), None)
    if last is None:
        return {"live": live}
    verdict = f"{last.event} {last.id}" + (f": {last.reason}" if last.reason else "")
    return {"live": live, "verdict": verdict, "verdict_time": last.time}


@dataclass(frozen=True)
class _RecordRefs:
    """The notes of a record, as far as they are read here (extras/registry/registry_store.py writes them)."""

    mirror: GitMirror

    def __str__(self) -> str:
        return self.mirror.address

    def notes(self, folder: str) -> list[str]:
        return [ref.removeprefix("refs/sluice/") for ref in self.mirror.refs(f"refs/sluice/{folder}/")]

    def read(self, name: str) -> bytes:
        return self.mirror.read(f"refs/sluice/{name}:note")
