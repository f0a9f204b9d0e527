"""`sluice fleet upgrade`: a version of the template goes through the projects ring by ring, and stops where it is
worse.

GitHub alone holds the state: the branch and the title of a pull request follow from the version, its commit from its
content. So a run that was killed at any moment can be repeated, and nothing is made twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.git import run
from sluice.core.settings import Settings
from sluice.core.text import code, table
from sluice.extras.fleet.fleet_file import FleetFile, FleetProject
from sluice.extras.fleet.repository_reader import (
    GitHubReader,
    GitMirror,
    commit_of,
    in_a_line,
    read_facts,
    read_repository,
    template_mirror,
)
from sluice.extras.pull_requests.branch_pull_request import PullRequestText, closed_before, upsert_pull
from sluice.extras.pull_requests.comment_verdict import find_verdict
from sluice.extras.pull_requests.pull_request_comment import MARKER
from sluice.extras.upgrade.upgrade_engine import BRANCH, describe, prepare, push, title_of
from sluice.extras.upgrade.versions import order
from sluice.github.github_client import BOT, needed
from sluice.github.tracked_issue import close_issue, run_of, upsert_issue
from sluice.github.workflow_run import run_url
from sluice.template.owned import point_for

CHECK = "required"  # the job of ci.yml that a branch rule asks for
_ACTIONS = "github-actions"
_AGAIN = ("action_required", "cancelled", "stale")  # a person or a newer run decides
State = Literal["upgraded", "not worse", "worse", "waiting", "to open", "blocked", "unknown", "later"]
AT_ONCE = 4  # GitHub's limit of what is made in a minute is 80
_PASSED = ("upgraded", "not worse")


class ProjectUpgrade(Settings):
    """A project; engine/docs/reference/fleet.md explains each `state`. `notes` are edited files, each with what to use
    in its place."""

    repository: str
    ring: str
    state: State = "later"
    reason: str = ""
    pull: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProjectUpgrader:
    """Upgrades projects to a version; each pull request gives the reason `why` as well."""

    template: GitMirror
    version: str
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    why: str = ""

    def look(self, project: FleetProject) -> ProjectUpgrade:
        return self._settled(project, self._look)

    def open(self, project: FleetProject, *, dry_run: bool = False) -> ProjectUpgrade:
        """Push the branch and open the pull request; a dry run makes the commit on this machine alone."""
        return self._settled(project, lambda reader: self._open(reader, dry_run=dry_run))

    def _settled(self, project: FleetProject, step: Any) -> ProjectUpgrade:
        found: dict[str, Any]
        try:
            with read_repository(project.repository, self.environment, self.folder) as reader:
                found = step(reader)
        except ValidationErrors as error:  # edits that would be lost, each with what to use in its place
            found = {"state": "blocked", "reason": "edits of the engine", "notes": error.faults}
        except Exception as error:  # whatever one repository holds, the others are upgraded
            found = {"state": "unknown", "reason": in_a_line(error)}
        return ProjectUpgrade.model_validate({"repository": project.repository, "ring": project.ring, **found})

    def _look(self, reader: GitHubReader) -> dict[str, Any]:
        facts, branch, reader = reader.look()
        if facts.get("archived"):
            return {"state": "blocked", "reason": "archived"}
        own = read_facts(reader.mirror, branch["commit"]["sha"], self.template)
        if order(own.version) >= order(self.version):
            return {"state": "upgraded", "reason": f"has {own.version}"}
        owner = reader.name.partition("/")[0]
        pulls = reader.get(f"/pulls?state=open&head={owner}:{BRANCH}&per_page=100")
        if pull := next((one for one in pulls if one["title"] == title_of(self.version)), None):
            return {"pull": pull["html_url"], "notes": own.edited, **self._verdict(reader, pull)}
        if closed := closed_before(self._text(""), self._environment(reader)):
            return {"state": "blocked", "reason": "closed by a person", "pull": closed}
        return {"state": "to open"}

    def _verdict(self, reader: GitHubReader, pull: Mapping[str, Any]) -> dict[str, Any]:
        """Judge by the required check of the newest commit, and by the comparison's comment."""
        commit = pull["head"]["sha"]
        listed = reader.get(f"/commits/{commit}/check-runs?check_name={CHECK}&filter=latest")["check_runs"]
        runs = [one for one in listed if (one.get("app") or {}).get("slug") == _ACTIONS]
        if not runs or any(one["status"] != "completed" or one["conclusion"] in _AGAIN for one in runs):
            return {"state": "waiting", "reason": f"for the check `{CHECK}`"}
        comments = reader.get(f"/issues/{pull['number']}/comments?per_page=100")
        ours = [one["body"] for one in comments if one["user"]["login"] == BOT and run_of(one["body"])[0] == MARKER]
        said = find_verdict(ours, commit)
        if all(one["conclusion"] == "success" for one in runs) and (said is None or said.passed):
            return {"state": "not worse", "reason": said.verdict if said else "nothing to compare"}
        if said and not said.passed:
            metrics = ", ".join(map(str, said.worse))
            return {"state": "worse", "reason": f"{said.verdict}: {metrics}" if metrics else said.verdict}
        failed = next(one for one in runs if one["conclusion"] != "success")
        return {"state": "worse", "reason": f"the check `{CHECK}`: {failed['conclusion']}, {failed['html_url']}"}

    def _open(self, reader: GitHubReader, *, dry_run: bool) -> dict[str, Any]:
        _, branch, reader = reader.look()
        mirror, commit = reader.mirror, str(branch["commit"]["sha"])
        mirror.bring(commit)
        run(mirror.folder, "update-ref", "--no-deref", "HEAD", commit)
        made = prepare(mirror.folder, str(self.template.folder), self.version)
        if made is None:
            return {"state": "upgraded"}
        notes = [f"{path}: edited; {point_for(path)}" for path in (*made.merged, *made.kept)]
        found: dict[str, Any] = {"notes": notes}
        if dry_run:
            return {**found, "state": "to open"}
        pushed = push(mirror.folder, made, self.environment, remote=mirror.address)
        if "left alone" in pushed:
            return {**found, "state": "blocked", "reason": pushed}
        posted = upsert_pull(self._text(describe(made)), self._environment(reader))
        return {**found, "state": "waiting", "reason": posted.message, "pull": posted.url}

    def _text(self, body: str) -> PullRequestText:
        return PullRequestText(BRANCH, title_of(self.version), f"{body}\n{self.why}\n" if self.why else body)

    def _environment(self, reader: GitHubReader) -> dict[str, str]:
        return {**self.environment, "GITHUB_REPOSITORY": reader.name}


@dataclass(frozen=True)
class FleetUpgrade:
    """`ring` is the one that is waited for, empty when all are done; `stopped` if a project of it is worse."""

    version: str
    commit: str
    ring: str
    stopped: bool
    projects: tuple[ProjectUpgrade, ...]
    issue: str = ""

    def text(self) -> str:
        head = f"Template {self.version} ({self.commit[:12]}): {self.summary}"
        rows = [(one.repository, one.ring, one.state, one.reason, one.pull) for one in self.projects]
        told = [one for one in self.projects if one.state == "blocked" or one.notes]
        named = "".join(f"- {one.repository}: {'; '.join(filter(None, [one.reason, *one.notes]))}\n" for one in told)
        return f"{head}\n\n{table(('project', 'ring', 'state', 'why', 'pull request'), rows)}\n{named}"

    @property
    def summary(self) -> str:
        if self.stopped:
            return f"stopped in ring {self.ring}"
        return f"waits for ring {self.ring}" if self.ring else "every project was asked"


def advance(
    fleet: FleetFile,
    environment: Mapping[str, str],
    folder: Path,
    *,
    version: str = "",
    skip: str = "",
    dry_run: bool = False,
) -> FleetUpgrade:
    """Open the pull requests that may be opened now, and read the verdicts of the open ones."""
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
    return replace(found, issue=issue.url or "")
