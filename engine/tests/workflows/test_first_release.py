"""The releases of a repository in which nothing is set: what the merge makes is there for any machine with a token.

GitHub's registry is a real one of this machine, its git server the real `git http-backend` behind tokens; what is
played: engine/docs/reference/workflow-tests.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.day_one import CLOCK
from support.git_server import GitServer, git_server
from unit.extras.registry.registries import registry_server
from unit.github.fake_github import READER, WRITER
from workflows.act import HERE
from workflows.evaluated import compare
from workflows.real_actions import github_itself
from workflows.scratch import REPOSITORY, Scratch, pushed, repository
from workflows.world import World, world

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

PROMPT = ("prompts/answer.prompt.yml", "the one or two", "one or two")


@pytest.fixture(scope="module")
def server(scratch: Scratch, folder: Path) -> Iterator[GitServer]:
    """The repository at `/octo/app`, for those who have a token."""
    folder = folder / "served"
    folder.mkdir()
    subprocess.run(["git", "clone", "--quiet", "--bare", scratch.origin, folder / REPOSITORY], check=True)
    with git_server(folder) as served:
        served.rights.update({WRITER: "write", READER: "read"})
        yield served


@pytest.fixture(scope="module")
def fresh(scratch: Scratch, folder: Path, server: GitServer) -> Iterator[World]:
    """A new repository: GitHub, its registry, and no variable."""
    with registry_server(folder / "registry") as registry, world(scratch, folder / "fresh", whole=False) as made:
        made.variables.clear()
        environment = {
            **made.runner.environment,
            **github_itself(server.url, server.certificate),
            "PLAYED_REGISTRY": f"127.0.0.1:{registry.port}",
        }
        real = made.runner.real and replace(made.runner.real, served=folder / "served" / REPOSITORY)
        made.runner = replace(made.runner, environment=environment, real=real)
        yield made


@pytest.fixture(scope="module")
def first(fresh: World) -> str:
    """The release of the first push; its id."""
    fresh.scratch.git("checkout", "--quiet", "main")
    run = fresh.release(number=30)
    compare(run, "release.yml", "first push")
    return run.job("release").outputs["stage.release"]


@pytest.fixture(scope="module")
def merged(fresh: World, first: str) -> str:
    """The release of a prompt that was merged, in a repository that is private by then; its id."""
    fresh.scratch.branch("merged")
    fresh.scratch.edit(*PROMPT)
    fresh.scratch.commit("A prompt")
    run = fresh.release(number=31, event={"private": True})
    compare(run, "release.yml", "merge of a prompt", private=True)
    made = run.job("release").outputs["stage.release"]
    assert made != first
    return made


def test_the_first_push_is_released_on_github_itself(fresh: World, first: str) -> None:
    (released,) = fresh.github.releases.by_id.values()
    assert (released["tag_name"], released["draft"]) == (first, False)
    assert not fresh.artefacts.exists()


def test_a_first_push_to_trunk_is_released_as_one_to_main(fresh: World, first: str) -> None:
    event = pushed(fresh.scratch, branch="trunk")
    run = fresh._run("release.yml", "push", event, number=29)
    compare(run, "release.yml", "first push to `trunk`")
    assert run.job("release").outputs["stage.release"] == first, "the commit was released before"


def test_by_the_clock_nothing_is_released(fresh: World, merged: str) -> None:
    event = {"schedule": "37 1 * * *", "repository": repository()}
    run = fresh._run("release.yml", CLOCK, event, number=33)
    assert merged
    compare(run, "release.yml", "the night")
    assert "### Nothing to release" in run.summary


def test_a_page_that_is_merged_releases_nothing(fresh: World, merged: str) -> None:
    fresh.scratch.git("checkout", "--quiet", "-B", "page-after", "merged")
    fresh.scratch.write("docs/set-up.md", "# Set up\n")
    fresh.scratch.commit("A page")
    run = fresh.release(number=32)
    assert merged
    compare(run, "release.yml", "merge of a page")
    assert "### Nothing to release" in run.summary


def test_a_laptop_with_the_token_of_gh_has_what_is_live(
    fresh: World, server: GitServer, first: str, merged: str, tmp_path: Path
) -> None:
    """Nothing but a clone: the record comes out of git's refs, every file of the release out of the registry."""
    laptop, programs = tmp_path / "laptop", tmp_path / "programs"
    programs.mkdir()
    gh = programs / "gh"
    gh.write_text(f'#!/bin/sh\n[ "$*" = "auth token" ] && echo {READER}\n')
    gh.chmod(0o755)
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "GIT_SSL_CAINFO": str(server.certificate),
        "PLAYED_REGISTRY": fresh.runner.environment["PLAYED_REGISTRY"],
        "PLAYED_PLACE": str(tmp_path),
        "GITHUB_SERVER_URL": server.url,
        "SLUICE_ARTEFACTS": "github",
        "SLUICE_CACHE": str(tmp_path / "cache"),
    }

    def run(*words: str | Path) -> str:
        options = {"cwd": laptop if laptop.exists() else tmp_path, "env": environment}
        done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    helper = f"!f() {{ echo username=octocat; echo password={READER}; }}; f"
    run("git", "-c", f"credential.helper={helper}", "clone", "--quiet", f"{server.url}/{REPOSITORY}", laptop)
    environment["PYTHONPATH"] = str(laptop / "engine" / "src")
    sluice = (sys.executable, HERE / "played" / "entry.py")
    listed = run(*sluice, "release", "list", "--env", "production").splitlines()
    assert [line.split()[-1] for line in listed if line.startswith("*")]
    assert [line for line in listed if line.startswith("*")] == [line for line in listed if merged in line][-1:]
    assert any(first in line for line in listed)
    assert "artifact store: verified" in run(*sluice, "release", "verify", "--env", "production")
    assert (laptop / ".sluice" / "releases" / merged / "release.json").is_file()
