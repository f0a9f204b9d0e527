"""A new project from this whole repository as the template: its own engine writes the names, GitHub is played."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from sluice import cli
from sluice.core.errors import SluiceError
from sluice.core.project import load_project
from sluice.extras.fleet.fleet_file import FleetProject, load_fleet
from sluice.extras.fleet.new_project import BRANCH, NewProject
from sluice.template.owned import edits, list_files
from unit.extras.doctor.fake_settings import FakeSettings
from unit.extras.upgrade.conftest import WholeTemplate
from unit.github.fake_github import REPOSITORY, WRITER, fake_github
from unit.github.fake_repository import ROOT
from unit.template.conftest import commit, git

TEMPLATE = "octo/template"
FLEET = """\
# Ours.
template: octo/template
rings: [first, rest]   # in this order
projects:
  - {repository: octo/one, owners: ["@octo/team"], ring: first}
  # The rest.
  - repository: octo/two
    owners: ["@octo/team"]   # they know
    ring: rest

# Rules of all.
rules: {oldest_engine: 0.1.0}
"""


@dataclass
class FakeTemplate(FakeSettings):
    """Makes octo/app of the template, as repos/create-using-template does: its files, in one commit without history,
    some answers later. Names and types are those of GitHub's OpenAPI description as of 2026-10-21."""

    bare: Path = Path()
    source: Path = Path()
    lag: int = 0
    generated: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        place, _, query = path.removeprefix(ROOT).partition("?")
        if (method, path) == ("POST", f"/repos/{TEMPLATE}/generate"):
            assert set(body) <= {"owner", "name", "description", "include_all_branches", "private"}
            self.generated.append(body)
            self.facts[""]["template_repository"] = {"full_name": TEMPLATE}
            git(self.bare.parent, "clone", "--quiet", "--bare", str(self.source), str(self.bare))
            return 201, self.facts[""]
        if path == "/user":
            return super().answer(method, path, token, body)
        if not path.startswith(ROOT) or not self.bare.exists():
            return 404, {"message": "Not Found"}
        if place.startswith("/branches/"):
            self.lag -= 1
            sha = git(self.bare, "rev-parse", "main")
            found = {"name": "main", "commit": {"sha": sha}, "protected": bool(self.rulesets)}
            return (200, found) if self.lag < 0 else (404, {"message": "Branch not found"})
        if place.startswith("/pulls"):
            return self._pulls(method, place, dict(parse_qsl(query)), body)
        return super().answer(method, path, token, body)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this repository in one commit."""
    folder = tmp_path_factory.mktemp("whole") / "template"
    folder.mkdir()
    whole = WholeTemplate(folder)
    files = folder.parent / "files"
    files.mkdir()
    archive = subprocess.run(["git", "-C", str(whole.root), "archive", "HEAD"], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(files)], input=archive, check=True)
    git(files, "init", "--quiet", "--initial-branch", "main")
    git(files, "add", "--all", "--force")
    commit(files, "Initial commit")
    return files


def make(github: FakeTemplate, tmp_path: Path, **values: Any) -> NewProject:
    file = tmp_path / "fleet.yaml"
    if not file.exists():
        file.write_text(FLEET)
    project = FleetProject(repository=REPOSITORY, owners=("@octo/new",), ring=values.pop("ring", "rest"))
    environment = {
        "GITHUB_API_URL": github.url,
        "GITHUB_SERVER_URL": (tmp_path / "servers").as_uri(),
        "GITHUB_TOKEN": WRITER,
    }
    return NewProject(file, project, True, environment, tmp_path / "kept", "vendored", sleep=lambda _: None)


@pytest.mark.usefixtures("loopback")
def test_a_project_in_one_command_and_nothing_twice(source: Path, tmp_path: Path) -> None:
    bare = tmp_path / "servers" / f"{REPOSITORY}.git"
    bare.parent.mkdir(parents=True)
    with fake_github(FakeTemplate(bare=bare, source=source, lag=3)) as github:
        assert isinstance(github, FakeTemplate)
        wanted = list(make(github, tmp_path).plan())
        assert wanted[0] == f"make {REPOSITORY} from {TEMPLATE}, private"
        assert {method for method, _ in github.asked} == {"GET"}
        assert (tmp_path / "fleet.yaml").read_text() == FLEET, "a dry run writes nothing"

        github.script = [("POST", 201, {})]  # an answer without its effect: as if GitHub had lost the repository
        with pytest.raises(SluiceError, match="has not copied"):
            list(make(github, tmp_path).make())
        said = list(make(github, tmp_path).make())
        assert github.generated == [{"owner": "octo", "name": "app", "private": True}]
        assert not [line for line in said if line.startswith(("REFUSED", "missing  environment staging"))]
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", "--branch", BRANCH, str(bare), str(clone))
        project = load_project(clone / "config")
        assert (project.repository, project.template and project.template.repository) == (REPOSITORY, TEMPLATE)
        assert edits(clone, list_files(clone)) == [], "`make check` finds the engine as it should be"
        assert git(clone, "rev-parse", "HEAD^") == git(bare, "rev-parse", "main")
        assert [(one["head"], one["title"], one["state"]) for one in github.pulls] == [
            (BRANCH, "Give the project its names", "open")
        ]
        assert {"staging", "production", "upgrade"} <= set(github.environments)
        (ruleset,) = github.rulesets.values()
        assert ruleset["enforcement"] == "active"
        fleet = load_fleet(tmp_path / "fleet.yaml")
        assert [one.repository for one in fleet.projects] == ["octo/one", "octo/two", REPOSITORY]
        text = (tmp_path / "fleet.yaml").read_text()
        new = "  - {repository: octo/app, owners: ['@octo/new'], ring: rest}\n"
        assert text == FLEET.replace("    ring: rest\n", f"    ring: rest\n{new}"), "comments stay as they are"

        changes, refs = len(github.bodies), git(bare, "for-each-ref")
        again = list(make(github, tmp_path).make())
        assert (len(github.generated), len(github.pulls), len(github.bodies)) == (1, 1, changes)
        assert git(bare, "for-each-ref") == refs
        assert (tmp_path / "fleet.yaml").read_text() == text
        assert again[0] == "branch unchanged"


@pytest.mark.usefixtures("loopback")
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    bare = tmp_path / "servers" / f"{REPOSITORY}.git"
    with fake_github(FakeTemplate(bare=bare)) as github:
        assert isinstance(github, FakeTemplate)
        for ring, words in (("frist", "no ring 'frist'"), ("first", "first_ring_percent allows 1")):
            with pytest.raises(SluiceError, match=words):
                list(make(github, tmp_path, ring=ring).make())
        assert github.asked == []
        git(tmp_path, "init", "--quiet", "--bare", str(bare))
        with pytest.raises(SluiceError, match=r"octo/app: is there already, made from nothing"):
            list(make(github, tmp_path).make())
        assert {method for method, _ in github.asked} == {"GET"}


@pytest.mark.usefixtures("loopback")
def test_the_command_makes_nothing_without_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with fake_github(FakeTemplate(bare=tmp_path / "none")) as github:
        for name, value in make(github, tmp_path).environment.items():  # type: ignore[arg-type]
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        cli.command()(["fleet", "new", REPOSITORY, "--ring", "rest", "--owner", "@octo/new"], standalone_mode=False)
        said = capsys.readouterr().out
        assert said.endswith("nothing was made: --yes makes it\n")
        assert {method for method, _ in github.asked} == {"GET"}
