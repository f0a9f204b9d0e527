"""Reads one repository: its state through GitHub's API, and its files from a bare mirror on this machine."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.core.errors import SluiceError
from sluice.core.extras import FOLDER
from sluice.core.git import SERVER, run, run_bytes, sign_in_to_github
from sluice.core.project import load_project
from sluice.core.settings import Settings
from sluice.extras.fleet.fleet_file import FleetFile
from sluice.extras.upgrade.engine_wheel import read_lock
from sluice.extras.upgrade.versions import address_of, check_out, fetch_version, released
from sluice.github.github_client import open_repository, refusals
from sluice.template.owned import ENGINE, OWNED, edits, read_list, refused, version_of, walk

if TYPE_CHECKING:
    from github.Repository import Repository

_LONGEST = 400
_GATES = Path("config/gates.yaml")
AT_ONCE = 8  # GitHub refuses more than a hundred requests at a time, of all that use the token
_QUIET = ("-c", "gc.auto=0", "-c", "maintenance.auto=false")  # no process is left behind


@dataclass(frozen=True)
class GitMirror:
    folder: Path
    address: str
    environment: Mapping[str, str] = field(repr=False)  # it has the token

    def fetch(self, *refs: str) -> None:
        """Fetch commits by their id, or refs as git words them."""
        words = ("fetch", "--quiet", "--prune", "--no-tags", "--depth=1", "--", self.address, *refs)
        sign_in = {**sign_in_to_github(self.environment), "GIT_TERMINAL_PROMPT": "0"}
        self._run(*_QUIET, *words, env=sign_in, remedy="the token must be allowed to read the contents")

    def bring(self, commit: str) -> None:
        try:
            self._run("cat-file", "-e", f"{commit}^{{commit}}")
        except SluiceError:
            self.fetch(commit)

    def read(self, name: str) -> bytes:
        """Return a file, named as `commit:path`."""
        return run_bytes(self.folder, "cat-file", "blob", name)

    def refs(self, below: str) -> dict[str, str]:
        listed = self._run("for-each-ref", "--format=%(refname) %(objectname)", below).splitlines()
        return dict(line.split() for line in listed)

    def _run(self, *words: str, **options: Any) -> str:
        if not (self.folder / "HEAD").is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            run(self.folder, "init", "--quiet", "--bare")
        return run(self.folder, *words, **options)


@dataclass(frozen=True)
class GitHubReader:
    """Reads one repository. `listed` is its name in fleet.yaml, `name` the one that it has now."""

    listed: str
    name: str
    repository: Repository
    environment: Mapping[str, str] = field(repr=False)
    folder: Path

    @property
    def mirror(self) -> GitMirror:
        place = self.folder / "git" / f"{self.listed.lower().replace('/', '+')}.git"
        return GitMirror(place, clone_address(self.name, self.environment), self.environment)

    def get(self, path: str = "") -> Any:
        """Return the JSON of a path below the repository, such as `/branches/main`."""
        with refusals():
            return self.repository.requester.requestJsonAndCheck("GET", f"/repos/{self.name}{path}")[1]

    def look(self) -> tuple[dict[str, Any], dict[str, Any], GitHubReader]:
        """Return the repository, its default branch, and the reader of the name that it has now: PyGithub 2.10.0
        follows GitHub's redirect of an old name without the query (Requester.py, __requestRaw)."""
        facts = self.get()
        now = replace(self, name=facts["full_name"])
        return facts, now.get(f"/branches/{facts['default_branch']}"), now


def in_a_line(error: Exception) -> str:
    """Describe an error in one line, for a cell of a table."""
    said = error.message if isinstance(error, SluiceError) else f"cannot be read: {type(error).__name__}: {error}"
    return said.splitlines()[0][:_LONGEST]


@contextmanager
def read_repository(name: str, environment: Mapping[str, str], folder: Path) -> Iterator[GitHubReader]:
    logging.getLogger("github").setLevel(logging.ERROR)  # it prints every refusal; the status says what they mean
    with open_repository({**environment, "GITHUB_REPOSITORY": name}) as repository:
        yield GitHubReader(name, name, repository, environment, folder)


def clone_address(name: str, environment: Mapping[str, str]) -> str:
    return f"{environment.get('GITHUB_SERVER_URL') or SERVER}/{name}.git"


def template_mirror(fleet: FleetFile, environment: Mapping[str, str], folder: Path) -> tuple[GitMirror, list[str]]:
    """Fetch the released versions of the template; return their numbers as well, the newest last."""
    named = address_of(fleet.template) != fleet.template  # owner/name
    address = clone_address(fleet.template, environment) if named else fleet.template
    mirror = GitMirror(folder / "git" / "template.git", address, environment)
    mirror.fetch("+refs/tags/v*:refs/tags/v*")
    if versions := released(mirror.folder, str(mirror.folder)):
        return mirror, versions
    raise SluiceError(f"{fleet.template}: no released version", remedy="the template has tags such as v0.2.0")


def commit_of(template: GitMirror, version: str) -> str:
    return run(template.folder, "rev-parse", f"refs/tags/v{version}^{{commit}}")


class ProjectFacts(Settings):
    """A commit of a project: `edited` files of the engine, each with what to use in its place, `adopted` ones that it
    may edit and has, and the text of its `gates`."""

    name: str
    version: str
    edited: tuple[str, ...]
    adopted: tuple[str, ...]
    extras: tuple[str, ...]
    without: tuple[str, ...]
    environments: tuple[str, str]
    gates: str


def read_facts(mirror: GitMirror, commit: str, template: GitMirror) -> ProjectFacts:
    mirror.bring(commit)
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        files = check_out(mirror.folder, commit, Path(name) / "files")
        try:
            if lock := read_lock(files):  # the template's files are looked at, not what a project's address serves
                (fetch_version(str(template.folder), lock.version, Path(name)) / ENGINE).rename(files / ENGINE)
            return _facts(files)
        except SluiceError as error:
            said = error.message.replace(f"{files}/", "")
            raise SluiceError(said, remedy="a project is made from the template, and has all of its engine") from None


def _facts(root: Path) -> ProjectFacts:
    project = load_project(root / "config")
    found = edits(root, walk(root))
    foreign, gates = refused(found, project.adopted, read_list(root, OWNED)), root / _GATES
    return ProjectFacts(
        name=project.name,
        version=version_of(root),
        edited=tuple(map(str, foreign)),
        adopted=tuple(one.path for one in found if one not in foreign),
        extras=tuple(sorted({path.parent.name for path in (root / FOLDER).glob("*/__init__.py")} - {*project.without})),
        without=project.without,
        environments=project.environments,
        gates=gates.read_text(encoding="utf-8", errors="replace") if gates.is_file() else "",
    )
