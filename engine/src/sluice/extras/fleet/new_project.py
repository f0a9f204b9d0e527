"""`sluice fleet new`: a project in one command: repository, names, environments, branch rules, entry in fleet.yaml.

Each step looks for what is there before it makes anything, so a run that was ended is repeated. The names are written
by the project's own engine, on a branch, and its pull request is the first that the project evaluates.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError
from sluice.core.git import commit_tree, run, sign_in_to_github
from sluice.core.project import load_project
from sluice.core.settings import bounded_yaml
from sluice.extras.doctor.check import DiagnosisScope
from sluice.extras.doctor.github import check
from sluice.extras.doctor.github_changes import apply
from sluice.extras.fleet.fleet_file import FleetFile, FleetProject, load_fleet
from sluice.extras.fleet.repository_reader import GitHubReader, clone_address, read_repository
from sluice.extras.pull_requests.branch_pull_request import PullRequestText, push_branch, upsert_pull
from sluice.github.github_client import GitHubStatusError, refusals

BRANCH, TITLE = "set-up-project", "Give the project its names"
_TRAILER = "Set-Up-Project: "
_BODY = "The names of this project, written by `sluice init`. Evaluated and released as any other change.\n"
_TRIES, _PAUSE_S = 30, 2.0  # GitHub copies the files after it has answered
_INIT = "import sys; from sluice.cli import main; sys.argv[1:1] = ['init']; raise SystemExit(main())"


@dataclass(frozen=True)
class NewProject:
    """What is made. `fleet` is the file that gets the entry; `sleep` waits between looks at a new repository."""

    file: Path
    project: FleetProject
    private: bool
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    engine: str = ""
    sleep: Callable[[float], None] = time.sleep

    def plan(self) -> Iterator[str]:
        """What would be done, in order; only reads."""
        fleet = load_fleet(self.file)
        _with_entry(self.file, self.project)
        template, name = _template(fleet), self.project.repository
        with read_repository(name, self.environment, self.folder) as reader:
            there = _facts(reader)
            if there is None:
                yield f"make {name} from {template}, {'private' if self.private else 'public'}"
            else:
                _require_made_from(there, template)
                yield f"{name} is there, made from {template}"
        yield f"pull request {TITLE!r}: sluice init --organisation {name.replace('/', ' --name ')}"
        yield "labels, environments, rights of workflows and branch rules, as `sluice doctor github --fix` makes them"
        yield f"entry in {self.file.name}: ring {self.project.ring}, owners {', '.join(self.project.owners)}"

    def make(self) -> Iterator[str]:
        fleet = load_fleet(self.file)
        entry = _with_entry(self.file, self.project)
        template, name = _template(fleet), self.project.repository
        own = {**self.environment, "GITHUB_REPOSITORY": name}
        with read_repository(name, self.environment, self.folder) as reader:
            there = _facts(reader)
            if there is None:
                owner, short = name.split("/")
                body = {"owner": owner, "name": short, "private": self.private}
                with refusals():
                    reader.repository.requester.requestJsonAndCheck("POST", f"/repos/{template}/generate", input=body)
                yield f"made {name} from {template}"
            else:
                _require_made_from(there, template)
            branch = self._branch(reader)
        with tempfile.TemporaryDirectory(prefix="fleet-") as temporary:
            clone = Path(temporary) / "project"
            address, sign_in = clone_address(name, self.environment), sign_in_to_github(self.environment)
            words = ("clone", "--quiet", "--depth=1", "--branch", branch, "--", address, str(clone))
            run(Path(temporary), *words, env=sign_in)
            yield from self._names(clone, template, own)
            scope = DiagnosisScope(clone, load_project(clone / "config"), own)
            yield from apply(name, [one for one in check(scope) if one.changes], own)
            yield from (f"{one.state}  {one.what}: {one.found}; {one.fix}" for one in check(scope) if not one.good)
        if entry:
            write_atomic(self.file, entry)
            yield f"entry in {self.file.name}: commit it"

    def _branch(self, reader: GitHubReader) -> str:
        for _ in range(_TRIES):
            try:
                branch = str(reader.get()["default_branch"])
                reader.get(f"/branches/{branch}")
                return branch
            except GitHubStatusError as error:
                if error.status != 404:
                    raise
            self.sleep(_PAUSE_S)
        raise SluiceError(f"{reader.name}: GitHub has not copied the template's files", remedy="run it again")

    def _names(self, clone: Path, template: str, environment: Mapping[str, str]) -> Iterator[str]:
        """The names, by the project's own engine, as a commit on a branch and its pull request."""
        owner, name = self.project.repository.split("/")
        head = run(clone, "rev-parse", "HEAD")
        engine = ("--engine", self.engine) if self.engine else ()
        _init(clone, "--organisation", owner, "--name", name, "--from", template, *engine)
        tree = run(clone, "write-tree")
        if tree == run(clone, "rev-parse", f"{head}^{{tree}}"):
            return
        commit = commit_tree(clone, tree, f"{TITLE}\n\n{_TRAILER}{self.project.repository}", head)
        yield push_branch(clone, commit, BRANCH, _TRAILER, environment, remedy="the token needs `workflows: write`")
        posted = upsert_pull(PullRequestText(BRANCH, TITLE, _BODY), environment)
        yield f"{posted.message}: {posted.url}"


def _template(fleet: FleetFile) -> str:
    if fleet.template.count("/") == 1 and ":" not in fleet.template:
        return fleet.template
    remedy = "GitHub makes repositories of templates on GitHub alone"
    raise SluiceError(f"{fleet.template}: not owner/name", remedy=remedy)


def _facts(reader: GitHubReader) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = reader.get()
        return found
    except GitHubStatusError as error:
        if error.status != 404:
            raise
    return None


def _require_made_from(facts: Mapping[str, Any], template: str) -> None:
    source = (facts.get("template_repository") or {}).get("full_name", "")
    if source.lower() != template.lower():
        said = f"{facts['full_name']}: is there already, made from {source or 'nothing'}"
        raise SluiceError(said, remedy="choose another name, or enter it into fleet.yaml by hand")


def _init(clone: Path, *words: str) -> None:
    """`sluice init` of the clone's own engine, in a process that knows no secrets."""
    environment = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    environment |= {"PYTHONPATH": str(clone / "engine" / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-c", _INIT, *words]
    done = subprocess.run(argv, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SluiceError(f"sluice init: {last}", remedy="nothing was pushed; fix that and run it again")


def _with_entry(file: Path, project: FleetProject) -> str:
    """fleet.yaml with the project behind the last one; empty where it is there. Comments stay as they are."""
    text, fleet = file.read_text(encoding="utf-8"), load_fleet(file)
    if project.repository.lower() in {one.repository.lower() for one in fleet.projects}:
        return ""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # load_fleet has read it
    last = next(value for key, value in root.value if key.value == "projects").value[-1]
    lines = text.splitlines(keepends=True)
    first = lines[last.start_mark.line]
    end = last.end_mark.line + bool(last.end_mark.column)
    while not (line := lines[end - 1].strip()) or line.startswith("#"):  # of what comes next
        end -= 1
    entry = {"repository": project.repository, "owners": list(project.owners), "ring": project.ring}
    flow = yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=1_000).strip()
    before = "".join(lines[:end]).rstrip("\n") + "\n"
    made = f"{before}{first[: len(first) - len(first.lstrip())]}- {flow}\n{''.join(lines[end:])}"
    try:
        FleetFile.model_validate(bounded_yaml(made)[0])
    except (ValueError, yaml.YAMLError) as error:
        what = error.errors()[0]["msg"] if hasattr(error, "errors") else "it is written in another form"
        raise SluiceError(f"{file}: no entry can be added: {what}", remedy="fix the file, or add it by hand") from None
    return made
