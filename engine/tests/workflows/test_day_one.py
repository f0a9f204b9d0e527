"""The first days of a repository in which nothing is set: what act finds is what the table of the page says.

GitHub's registry is a real one of this machine, its git server the real `git http-backend` with tokens; what else is
played: engine/docs/reference/workflow-tests.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policy.files import Repository
from sluice.core.extras import extras
from support.day_one import CLOCK, SITUATIONS, find, starts
from unit.github.fake_github import READER, WRITER
from workflows.act import HERE, Run
from workflows.scratch import REPOSITORY, ROOT, Scratch, pull_request, pushed, repository
from workflows.world import World, world

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PROMPT = ("prompts/answer.prompt.yml", "the shortest span", "a short span")
BY_NAME = {situation.name: situation for situation in SITUATIONS}


@pytest.fixture(scope="module")
def alone(scratch: Scratch, folder: Path) -> Iterator[World]:
    """A world in which no variable is set, and no registry is there."""
    with world(scratch, folder / "alone", whole=False) as made:
        made.variables.clear()
        yield made


def compare(run: Run, workflow: str, name: str, *, private: bool = False) -> None:
    """A run is what was evaluated: the same jobs, every one green, and the same words."""
    github, situation = Repository.read(ROOT), BY_NAME[name]
    (file,) = [one for one in github.workflows if one.name == workflow]
    assert starts(file, situation)
    said = find(github, file, situation, private=private)
    ended = {}
    for job in run.jobs.values():
        first = job.name.split("/")[0]
        ended[job.id if first == workflow.removesuffix(".yml") else first] = job.result
    assert ended == dict.fromkeys(said.runs, "success")
    for line in said.says:
        assert line in run.summary
    assert run.status == 0


def on_the_clock(of: World, workflow: str, name: str, *, number: int) -> Run:
    payload = {"schedule": BY_NAME[name].clock, "repository": repository() | {"is_template": False}}
    run = of._run(workflow, CLOCK, payload, number=number)
    compare(run, workflow, name)
    return run


def test_a_release_that_nothing_can_keep_is_skipped_with_one_line(alone: World) -> None:
    run = alone.release(number=20, PLAYED_WITHOUT="registry")
    assert (run.status, run.results) == (0, {"release/plan": "success"})
    assert "SLUICE_ARTEFACTS names no artifact store, and the extra registry" in run.summary


def test_the_first_pull_request_changes_a_prompt(alone: World) -> None:
    alone.scratch.branch("prompt")
    alone.scratch.edit(*PROMPT)
    alone.scratch.commit("A prompt")
    compare(alone.ci(number=21), "ci.yml", "first pull request of a prompt")
    assert len(alone.github.comments) == 1


def test_a_page_is_checked_alone(alone: World) -> None:
    alone.scratch.branch("page")
    alone.scratch.write("docs/set-up.md", "# Set up\n")
    alone.scratch.commit("A page")
    compare(alone.ci(number=22), "ci.yml", "pull request of a page")


def test_a_fork_s_token_only_reads_and_its_pull_request_is_green(alone: World) -> None:
    alone.scratch.branch("fork")
    alone.scratch.edit(*PROMPT)
    alone.scratch.commit("A prompt from elsewhere")
    payload: dict[str, Any] = pull_request(alone.scratch, branch="theirs")
    payload["pull_request"]["head"]["repo"] = repository() | {"full_name": "somebody/app", "fork": True}
    before = dict(alone.github.comments)
    run = alone._run("ci.yml", "pull_request", payload, number=23, token=READER)
    compare(run, "ci.yml", "pull request of a fork")
    assert alone.github.comments == before
    assert "## = No difference seen" in run.job("eval").summary


if "engine_tests" in extras():

    def test_dependabot_moves_an_action(alone: World) -> None:
        """`make check`, which asks for the row of the ledger, is played."""
        alone.scratch.branch("dependabot")
        path = ".github/workflows/ci.yml"
        alone.scratch.edit(path, "# v7.0.1", "# v7.0.2")
        alone.scratch.commit("Bump actions/checkout", author="dependabot[bot]")
        payload = pull_request(alone.scratch, branch="dependabot/actions")
        run = alone._run("ci.yml", "pull_request", payload, number=24, actor="dependabot[bot]")
        compare(run, "ci.yml", "pull request of Dependabot")

    def test_on_saturday_the_template_s_own_tests_are_not_a_copy_s(alone: World) -> None:
        run = alone._run("template-tests.yml", CLOCK, {"repository": repository()}, number=25)
        assert (run.status, run.jobs) == (0, {})


def test_the_night_finds_nothing_missing(alone: World) -> None:
    alone.scratch.branch("night")
    on_the_clock(alone, "nightly.yml", "the night", number=26)
    assert alone.github.issues == {}


if "upgrade" in extras():

    def test_on_monday_nothing_says_where_the_template_is(alone: World) -> None:
        run = on_the_clock(alone, "upgrade-template.yml", "Monday", number=27)
        assert "Nothing to take: nothing says where the template is" in run.summary


@pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
def test_the_first_push_is_scored_or_it_says_why_not(alone: World, private: bool) -> None:
    run = alone.release(workflow="scorecard.yml", number=28, event={"private": private})
    compare(run, "scorecard.yml", "first push", private=private)


if "registry" in extras():
    from unit.extras.registry.git_server import GitServer, git_server
    from unit.extras.registry.registries import registry_server

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
                "PLAYED_REGISTRY": f"127.0.0.1:{registry.port}",
                "GITHUB_SERVER_URL": server.url,
                "GIT_SSL_CAINFO": str(server.certificate),
            }
            made.runner = replace(made.runner, environment={**made.runner.environment, **environment})
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

    def test_a_page_that_is_merged_releases_nothing(fresh: World, merged: str) -> None:
        fresh.scratch.branch("page-after")
        fresh.scratch.edit(*PROMPT)
        fresh.scratch.commit("A prompt")
        fresh.scratch.write("docs/set-up.md", "# Set up\n")
        fresh.scratch.commit("A page")
        run = fresh._run("release.yml", "push", pushed(fresh.scratch), number=32)
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
