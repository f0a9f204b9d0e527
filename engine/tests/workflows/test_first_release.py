"""The releases of a repository in which nothing is set are there for any machine with a token."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from support.day_one import CLOCK
from support.git_server import GitServer, git_server
from unit.extras.registry.stores import registry_server
from unit.github.fake_github import READER, WRITER
from workflows.act import HERE
from workflows.evaluated import compare
from workflows.scratch import REPOSITORY, Scratch, pushed, repository
from workflows.world import World, world

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def server(scratch: Scratch, folder: Path) -> Iterator[GitServer]:
    folder = folder / "served"
    folder.mkdir()
    subprocess.run(["git", "clone", "--quiet", "--bare", scratch.origin, folder / REPOSITORY], check=True)
    with git_server(folder) as served:
        served.rights.update({WRITER: "write", READER: "read"})
        yield served


@pytest.fixture(scope="module")
def fresh(scratch: Scratch, folder: Path, server: GitServer) -> Iterator[World]:
    with registry_server(folder / "registry") as registry, world(scratch, folder / "fresh", whole=False) as made:
        made.variables.clear()
        environment = {
            **made.runner.environment,
            "GITHUB_SERVER_URL": server.url,
            "GIT_SSL_CAINFO": str(server.certificate),
            "PLAYED_REGISTRY": f"127.0.0.1:{registry.port}",
        }
        made.runner = replace(made.runner, environment=environment)
        yield made


@pytest.fixture(scope="module")
def first(fresh: World) -> str:
    fresh.scratch.git("checkout", "--quiet", "main")
    run = fresh.release(number=30)
    compare(run, "release.yml", "first push")
    return run.job("release").outputs["stage.release"]


@pytest.fixture(scope="module")
def merged(fresh: World, first: str) -> str:
    fresh.scratch.edit_prompt("merged", "A prompt")
    run = fresh.release(number=31, event={"private": True})
    compare(run, "release.yml", "merge of a prompt", private=True)
    made = run.job("release").outputs["stage.release"]
    assert made != first
    return made


def test_the_first_push_is_released_on_github_itself(fresh: World, first: str) -> None:
    (released,) = fresh.github.releases.by_id.values()
    assert (released["tag_name"], released["draft"]) == (first, False)
    assert not fresh.artefacts.exists()


def test_a_first_push_to_trunk_of_a_private_repository_is_released_as_well(fresh: World, first: str) -> None:
    event = pushed(fresh.scratch, branch="trunk", private=True)
    run = fresh._run("release.yml", "push", event, number=29)
    compare(run, "release.yml", "first push to `trunk`", private=True)
    assert run.job("release").outputs["stage.release"] == first, "the commit was released before"


def test_by_the_clock_nothing_is_released(fresh: World, merged: str) -> None:
    event = {"schedule": "37 1 * * *", "repository": repository()}
    run = fresh._run("release.yml", CLOCK, event, number=33)
    assert merged
    compare(run, "release.yml", "the night")
    assert "### Nothing to release" in run.summary


@dataclass(frozen=True)
class Laptop:
    """A clone on another machine, with nothing but the token of `gh`."""

    root: Path
    environment: dict[str, str]

    def sluice(self, *words: str) -> list[str]:
        return [sys.executable, str(HERE / "played" / "entry.py"), *words]

    def run(self, *words: str) -> str:
        options = {"cwd": self.root if self.root.exists() else self.root.parent, "env": self.environment}
        done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def laptop(fresh: World, server: GitServer, folder: Path) -> Laptop:
    root, programs = folder / "laptop" / "clone", folder / "laptop" / "programs"
    programs.mkdir(parents=True)
    gh = programs / "gh"
    gh.write_text('#!/bin/sh\n[ "$*" = "auth token" ] && cat "$HOME/token"\n')
    gh.chmod(0o755)
    (root.parent / "token").write_text(READER)
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(root.parent),
        "GIT_SSL_CAINFO": str(server.certificate),
        "PLAYED_REGISTRY": fresh.runner.environment["PLAYED_REGISTRY"],
        "PLAYED_PLACE": str(root.parent),
        "GITHUB_SERVER_URL": server.url,
        "SLUICE_ARTEFACTS": "github",
        "SLUICE_CACHE": str(root.parent / "cache"),
        "PYTHONPATH": str(root / "engine" / "src"),
    }
    made = Laptop(root, environment)
    helper = f"!f() {{ echo username=octocat; echo password={READER}; }}; f"
    made.run("git", "-c", f"credential.helper={helper}", "clone", "--quiet", f"{server.url}/{REPOSITORY}", str(root))
    return made


def test_a_laptop_with_the_token_of_gh_has_what_is_live(laptop: Laptop, first: str, merged: str) -> None:
    listed = laptop.run(*laptop.sluice("release", "list", "--env", "production")).splitlines()
    assert [line.split()[-1] for line in listed if line.startswith("*")]
    assert [line for line in listed if line.startswith("*")] == [line for line in listed if merged in line][-1:]
    assert any(first in line for line in listed)
    said = laptop.run(*laptop.sluice("release", "verify", "--env", "production"))
    assert "artifact store: verified" in said
    assert (laptop.root / ".sluice" / "releases" / merged / "release.json").is_file()


def test_and_from_there_it_goes_back(laptop: Laptop, first: str, merged: str) -> None:
    back = laptop.sluice("release", "rollback", "previous", "--env", "production")
    refused = subprocess.run(back, cwd=laptop.root, env=laptop.environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "`contents: write`" in refused.stderr
    (laptop.root.parent / "token").write_text(WRITER)
    laptop.run(*back)
    shutil.rmtree(laptop.root / ".sluice")
    listed = laptop.run(*laptop.sluice("release", "list", "--env", "production")).splitlines()
    (live,) = [line for line in listed if line.startswith("*")]
    assert first in live
    assert merged not in live
