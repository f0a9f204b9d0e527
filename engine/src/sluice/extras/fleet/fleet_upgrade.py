"""`sluice fleet upgrade`: a version of the template goes through the projects ring by ring, and stops where it is
worse.

The next ring begins when every project of a ring has it or its verdict is not worse; those that need a person are named
and do not hold the others back. A ring in which no project could take it proves nothing, and the upgrade stays there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.text import code, table
from sluice.extras.fleet.fleet_file import FleetFile, FleetProject
from sluice.extras.fleet.fleet_status import commit_of, template_mirror
from sluice.extras.fleet.project_upgrade import ProjectUpgrade, ProjectUpgrader
from sluice.github.github_client import needed
from sluice.github.tracked_issue import close_issue, upsert_issue
from sluice.github.workflow_run import run_url

AT_ONCE = 4  # GitHub's limit of what is made in a minute is 80
_PASSED, _OPEN = ("upgraded", "not worse"), ("waiting", "unknown")


@dataclass(frozen=True)
class FleetUpgrade:
    """`commit`: of the template. `ring`: the one that is waited for; empty when all are done. `stopped`: a project of
    it is worse. `issue`: where that is said."""

    version: str
    commit: str
    ring: str
    stopped: bool
    projects: tuple[ProjectUpgrade, ...]
    issue: str = ""

    def text(self) -> str:
        """For people, as Markdown."""
        head = f"Template {self.version} ({self.commit[:12]}): {self.summary}"
        lines = [f"{one.repository}: {_words(one)}" for one in self.projects if one.state == "blocked" or one.notes]
        rows = [(one.repository, one.ring, one.state, one.reason, one.pull) for one in self.projects]
        named = "".join(f"- {line}\n" for line in lines)
        return f"{head}\n\n{table(('project', 'ring', 'state', 'why', 'pull request'), rows)}\n{named}"

    @property
    def pending(self) -> bool:
        """Whether a later pass may get further without a person."""
        return bool(self.ring) and not self.stopped and any(one.state in _OPEN for one in self.projects)

    @property
    def summary(self) -> str:
        """How far it is."""
        if self.stopped:
            return f"stopped in ring {self.ring}"
        return f"waits for ring {self.ring}" if self.ring else "every project was asked"


def _words(one: ProjectUpgrade) -> str:
    return "; ".join(filter(None, [one.reason, *one.notes]))


def advance(
    fleet: FleetFile,
    environment: Mapping[str, str],
    folder: Path,
    *,
    version: str = "",
    skip: str = "",
    dry_run: bool = False,
) -> FleetUpgrade:
    """One pass: opens what may be opened now, and reads the verdicts of what is open."""
    template, versions = template_mirror(fleet, environment, folder)
    version = version.removeprefix("v") or versions[-1]
    if version not in versions:
        raise SluiceError(f"{fleet.template}: no version {version}", remedy=f"it has {', '.join(versions)}")
    if not dry_run:
        needed(environment, "GITHUB_REPOSITORY", "name the repository of the platform team, where issues are opened")
    commit, why = commit_of(template, version), ""
    if skip:
        why = f"**Every ring at once:** {code(skip)}, by {code(environment.get('GITHUB_ACTOR') or 'a person')}."
        if not dry_run:
            record = f"{why}\n\nTemplate {version}, commit {commit}. {run_url(environment)}\n"
            upsert_issue(f"Template {version} skips rings", record, environment, marker=f"fleet-skips-{version}")
    upgrader = ProjectUpgrader(template, version, environment, folder, why)
    found = _passes(fleet, upgrader, commit, all_at_once=bool(skip), dry_run=dry_run)
    if not dry_run:
        found = _reported(found, environment)
    return found


def _passes(
    fleet: FleetFile, upgrader: ProjectUpgrader, commit: str, *, all_at_once: bool, dry_run: bool
) -> FleetUpgrade:
    rings = [("all", list(fleet.projects))] if all_at_once else [(name, fleet.ring(name)) for name in fleet.rings]
    done: list[ProjectUpgrade] = []
    for number, (ring, projects) in enumerate(rings):
        found = _each(upgrader.look, projects)
        stopped = any(one.state == "worse" for one in found)
        if not stopped:
            opening = [project for project, one in zip(projects, found, strict=True) if one.state == "to open"]
            opened = iter(_each(lambda one: upgrader.open(one, dry_run=dry_run), opening))
            found = [next(opened) if one.state == "to open" else one for one in found]
        done += found
        judged = all(one.state in (*_PASSED, "blocked") for one in found)
        if not dry_run and (stopped or not judged or not any(one.state in _PASSED for one in found)):
            later = [one for _, following in rings[number + 1 :] for one in following]
            done += [ProjectUpgrade(repository=one.repository, ring=one.ring) for one in later]
            return FleetUpgrade(upgrader.version, commit, ring, stopped, tuple(done))
    return FleetUpgrade(upgrader.version, commit, "", stopped=False, projects=tuple(done))


def _each(step: Callable[[FleetProject], ProjectUpgrade], projects: Sequence[FleetProject]) -> list[ProjectUpgrade]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(step, projects))


def _reported(found: FleetUpgrade, environment: Mapping[str, str]) -> FleetUpgrade:
    """One issue while the version is worse somewhere; closed when it no longer is."""
    marker = f"fleet-stopped-{found.version}"
    if not found.stopped:
        close_issue(f"No verdict is worse any more; the upgrade {found.summary}.\n", environment, marker=marker)
        return found
    worse = [one for one in found.projects if one.state == "worse"]
    title = f"Template {found.version} stops: {worse[0].reason} in {worse[0].repository}"
    asked = sum(one.state != "later" for one in found.projects)
    rows = [(one.repository, one.reason, one.pull) for one in worse]
    text = f"Version {found.version} of the template, commit {found.commit}, is worse in ring {code(found.ring)}.\n\n"
    text += table(("project", "what is worse", "pull request"), rows)
    text += (
        f"\n{asked} of {len(found.projects)} projects were asked; no further pull request is opened. Release another "
        "version of the template, or close the pull request of the project: it is then left out.\n"
    )
    issue = upsert_issue(title, text, environment, marker=marker)
    return FleetUpgrade(**{**vars(found), "issue": issue.url or ""})
