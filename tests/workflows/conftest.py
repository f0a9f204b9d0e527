"""A place to run workflows in: a scratch repository, a GitHub that is a stub, a runner, and what they leave behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from unit.forge.fake_github import WRITER, FakeGitHub, fake_github
from workflows.act import ACT, Run, Runner
from workflows.coverage import Step, began, declared
from workflows.inlined import write_inlined
from workflows.scratch import REPOSITORY, ROOT, Scratch, pull_request

# Models that the tests of the models have brought already; nothing here fetches any.
CACHE = Path(os.environ.get("SLUICE_CACHE") or Path.home() / ".cache" / "sluice")


@dataclass
class Place:
    """`runs`: all that were made here, for who counts what began."""

    scratch: Scratch
    github: FakeGitHub
    runner: Runner
    runs: list[Run] = field(default_factory=list)

    def ci(self, *, number: int = 500, actor: str = "octocat", **event: Any) -> Run:
        """Runs ci.yml for what is checked out. `number`: of the run."""
        payload = pull_request(self.scratch, **event)
        run = self.runner.run(
            "ci.yml",
            "pull_request",
            payload,
            secrets={"GITHUB_TOKEN": WRITER},
            actor=actor,
            GITHUB_RUN_ID=str(number),
            GITHUB_RUN_ATTEMPT="1",
        )
        self.runs.append(run)
        return run

    def inline(self, workflow: str) -> None:
        write_inlined(self.scratch.root, workflow)

    def artifact(self, name: str, *, run: int) -> Path:
        return self.runner.place / "artifacts" / str(run) / name

    def missed(self, workflow: str) -> set[Step]:
        """Steps of a workflow, and of all that it calls, that no run here has begun."""
        return declared(ROOT, workflow) - began(ROOT, self.runs)

    def made(self) -> list[str]:
        """What `make` was asked for in the last run."""
        return (self.runner.place / "made").read_text().splitlines()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if not ACT.exists():
        pytest.fail(f"{ACT}: no such file; act is in requirements/dev.txt: make setup")
    folder = tmp_path_factory.mktemp("workflows")
    with fake_github() as github:
        environment = {
            "GITHUB_API_URL": github.url,
            "GITHUB_REPOSITORY": REPOSITORY,
            "SLUICE_CACHE": str(CACHE),
        }
        runner = Runner(folder / "repository", folder / "home", folder / "place", environment)
        yield Place(Scratch(folder), github, runner)
