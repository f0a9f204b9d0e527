"""The upgrade of one project of a fleet: what GitHub holds of it, and the pull request that is opened.

GitHub alone holds the state: the branch and the title of the pull request follow from the version, its commit from
what it holds. So a run that was ended at any moment is repeated, and nothing is made twice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sluice.core.errors import ValidationErrors
from sluice.core.git import run
from sluice.core.project import FILE, PROJECT, Project, load_project
from sluice.core.settings import Settings
from sluice.extras.fleet.fleet_file import FleetProject
from sluice.extras.fleet.git_mirror import GitMirror
from sluice.extras.fleet.github_reader import GitHubReader, in_a_line, read_repository
from sluice.extras.fleet.project_facts import read_facts
from sluice.extras.fleet.project_status import mirror_of
from sluice.extras.pull_requests.branch_pull_request import PullRequestText, closed_before, upsert_pull
from sluice.extras.pull_requests.comment_verdict import find_verdict
from sluice.extras.pull_requests.pull_request_comment import MARKER
from sluice.extras.upgrade.codemods import order
from sluice.extras.upgrade.upgrade_engine import BRANCH, UpgradeResult, describe, prepare, push
from sluice.github.github_client import BOT
from sluice.github.tracked_issue import run_of
from sluice.template.extension_points import point_for

CHECK = "required"  # the job of ci.yml that a branch rule asks for
_ACTIONS = "github-actions"
_AGAIN = ("action_required", "cancelled", "stale")  # a person or a newer run decides
State = Literal["upgraded", "not worse", "worse", "waiting", "to open", "blocked", "unknown", "later"]


class ProjectUpgrade(Settings):
    """`state`: `upgraded` has this version or a later one; `not worse`, `worse` and `waiting` are verdicts of its open
    pull request; `to open` has none; `blocked` needs a person; `unknown` could not be read or written; `later` waits
    for a ring. `notes`: edited files, each with what to use in their place."""

    repository: str
    ring: str
    state: State = "later"
    reason: str = ""
    pull: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProjectUpgrader:
    """Upgrades projects to a version. `why`: what is said in the pull request beside the engine's own text."""

    template: GitMirror
    version: str
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    why: str = ""

    @property
    def title(self) -> str:
        """Of the pull request, as upgrade_engine.py has it."""
        return UpgradeResult("", self.version, "", []).title

    def look(self, project: FleetProject) -> ProjectUpgrade:
        """What GitHub holds of the upgrade; nothing is written."""
        return self._settled(project, self._look)

    def open(self, project: FleetProject, *, dry_run: bool = False) -> ProjectUpgrade:
        """Pushes the branch and opens the pull request; of a dry run, makes the commit on this machine alone."""
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
        facts = reader.get()
        reader = reader.renamed(facts)
        if facts.get("archived"):
            return {"state": "blocked", "reason": "archived"}
        own = read_facts(self._mirror(reader), self._head(reader, facts), self.template)
        if order(own.version) >= order(self.version):
            return {"state": "upgraded", "reason": f"has {own.version}"}
        owner = reader.name.partition("/")[0]
        pulls = reader.get(f"/pulls?state=open&head={owner}:{BRANCH}&per_page=100")
        if pull := next((one for one in pulls if one["title"] == self.title), None):
            return {"pull": pull["html_url"], "notes": own.edited, **self._verdict(reader, pull)}
        if closed := closed_before(self._text(""), self._environment(reader)):
            return {"state": "blocked", "reason": "closed by a person", "pull": closed}
        return {"state": "to open"}

    def _verdict(self, reader: GitHubReader, pull: Mapping[str, Any]) -> dict[str, Any]:
        """Of the required check on the newest commit, and of the comparison's comment, which says what is worse."""
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
        facts = reader.get()
        reader = reader.renamed(facts)
        mirror, commit = self._mirror(reader), self._head(reader, facts)
        if not mirror.has(commit):
            mirror.fetch(commit)
        run(mirror.folder, "update-ref", "--no-deref", "HEAD", commit)
        made = prepare(mirror.folder, _project(mirror, commit), str(self.template.folder), self.version)
        if made is None:
            return {"state": "upgraded"}
        edited = [*made.merged, *made.kept]
        found: dict[str, Any] = {"notes": [f"{path}: edited; {point_for(path)}" for path in edited]}
        if dry_run:
            return {**found, "state": "to open"}
        pushed = push(mirror.folder, made, self.environment, remote=mirror.address)
        if "left alone" in pushed:
            return {**found, "state": "blocked", "reason": pushed}
        posted = upsert_pull(self._text(describe(made)), self._environment(reader))
        return {**found, "state": "waiting", "reason": posted.message, "pull": posted.url}

    def _text(self, body: str) -> PullRequestText:
        return PullRequestText(BRANCH, self.title, f"{body}\n{self.why}\n" if self.why else body)

    def _mirror(self, reader: GitHubReader) -> GitMirror:
        return mirror_of(reader, self.environment, self.folder)

    def _head(self, reader: GitHubReader, facts: Mapping[str, Any]) -> str:
        return str(reader.get(f"/branches/{facts['default_branch']}")["commit"]["sha"])

    def _environment(self, reader: GitHubReader) -> dict[str, str]:
        return {**self.environment, "GITHUB_REPOSITORY": reader.name}


def _project(mirror: GitMirror, commit: str) -> Project:
    """config/project.yaml of a commit."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        (Path(name) / FILE).write_bytes(mirror.read(f"{commit}:{PROJECT}"))
        return load_project(Path(name))
