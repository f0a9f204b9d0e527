"""Answers for pull requests under GitHub's runs and re-runs: random sequences of what people and GitHub do.

The workflows' own conditions and groups are evaluated, their steps of `sluice answers` are the real ones, GitHub is
played (support/github_runs.py), and the provider is a function that counts.
"""

import io
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import yaml

from sluice.core import settings
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.evaluation.response_cache import FOLDER, MISSING, ResponseCache
from sluice.extras.hosted import answer_requests, check_run, cli
from sluice.extras.hosted.answers_file import AnswersAwaitedError
from sluice.github.job_plan import judge
from sluice.llm.chat import Delta, Usage
from sluice.llm.provider_failures import FailureKind, ProviderError
from support.actions_api import ActionsApi, in_this_process
from support.github_runs import Actions, Pull, Run, StepFailedError
from unit.extras.hosted.conftest import FORK, Main
from unit.github.fake_github import REPOSITORY

SEQUENCES, STEPS, ROUNDS = 500, 10, 2
FILES = Path(__file__).resolve().parents[5] / ".github" / "workflows"
HOME = {"full_name": REPOSITORY, "owner": {"login": "octo"}}
PLAN = {"check": "true", "test": "true", "test-engine": "false", "eval": "true", "rehearse": "false", "parts": "hosted"}
EACH = (40 * 1.0 + 32 * 2.0) / 1e6  # dollars that are reserved for a request, at least
LIMITS = {"rounds": ROUNDS, "dollars_per_change": EACH * 2, "dollars_per_day": EACH * 4}
# What happens, and how often. A step has a number beside it, which chooses of what there is.
WHAT = {"advance": 18, "push": 4, "update": 1, "reopen": 1, "title": 1, "rerun": 2, "rerun all": 1, "cancel": 1}
WHAT |= {"lose": 1, "by hand": 1, "midnight": 1}
Step = tuple[str, float]


@dataclass
class World:
    """Three pull requests, one of them a stranger's. `asked`: day, commit and dollars of what the provider got."""

    main: Main
    request: Callable[[str], dict[str, Any]]
    workflows: Mapping[str, Any]
    now: datetime = datetime(2026, 1, 1, 10, tzinfo=UTC)
    asked: list[tuple[str, str, float]] = field(default_factory=list)
    by_hand: set[str] = field(default_factory=set)
    api: ActionsApi = field(default_factory=lambda: ActionsApi(url="http://127.0.0.1"))

    def __post_init__(self) -> None:
        self.actions = Actions(self.api, self.workflows, self.do, self.root, lambda: self.now)
        self.pulls = [Pull(7, "octocat", HOME), Pull(8, "octocat", HOME), Pull(9, "stranger", FORK)]
        for pull in self.pulls:
            self.api.add_pull(pull.author, pull.home["owner"]["login"], f"change-{pull.number}")
            self.push(pull, pull.author, "opened")

    def push(self, pull: Pull, actor: str, action: str = "synchronize") -> None:
        pull.sha = f"{pull.number}-{int(pull.sha.partition('-')[2] or 0) + 1}"
        self.actions.pull_request(pull, action, actor)

    def root(self, run: Run) -> Path:
        """A machine for each run of a change, and one for those of main: what caches bring is there already."""
        main = self.main.workspace.root
        made = main.parent / "changes" / str(run.id) if run.pull else main
        if not made.exists():
            made.mkdir(parents=True)
            for name in ("pyproject.toml", "config", "prompts", "pipelines"):
                (made / name).symlink_to(main / name)
        return made

    def do(self, run: Run, command: str, environment: Mapping[str, str]) -> Mapping[str, str]:
        os.chdir(self.root(run))
        command = re.sub(r"\$(\w+)", lambda found: environment.get(found[1], ""), command).replace('"', "")
        own = {"GITHUB_EVENT_NAME": run.github["event_name"], "GITHUB_OUTPUT": "output", **environment}
        os.environ.update(self.api.environment(run.id, GITHUB_RUN_ATTEMPT=str(run.attempt), **own))
        Path("output").write_text("")
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                self.command(run, command)
        except SluiceError as error:
            if error.exit_code == 1 and "has not finished" not in error.message:
                pytest.fail(f"run {run.id}: {command}: {error}")
            if error.exit_code:
                raise StepFailedError(error) from error
        if found := re.search(r"ci.py artifact --of (\d+) --name (\S+)", command):
            return {"found": str((int(found[1]), found[2]) in self.api.archives).lower()}
        return PLAN | dict(line.split("=", 1) for line in Path("output").read_text().splitlines())

    def command(self, run: Run, command: str) -> None:
        if found := re.fullmatch(r".venv/bin/sluice answers (\w+)(?: --run (\d+))?", command):
            if found[1] == "check":
                shutil.rmtree("build", ignore_errors=True)
            getattr(cli, found[1])(**({"run": int(found[2])} if found[2] else {}))
        elif command == "make eval":
            self.evaluate(run.github["sha"])
        elif command == "make test" and int(run.github["sha"][-1]) % 5 == 4:
            raise StepFailedError("a test fails")
        elif command.endswith("ci.py required") and any(one.fault for one in judge(os.environ["NEEDS"])):
            raise StepFailedError("required")

    def evaluate(self, sha: str) -> None:
        """`sluice eval --replay` of a change whose questions ask a model up to three times in a row."""
        kept = ResponseCache(Path(".sluice") / FOLDER)
        shutil.rmtree(kept.folder / MISSING, ignore_errors=True)
        for request in (self.request(f"{sha} {number}") for number in range(int(sha[-1]) % 4)):
            if kept.get(request["digest"]) is None:
                kept.note_missing(request["digest"], {name: one for name, one in request.items() if name != "version"})
                break
        for ask in hooks("unanswered").values():
            if error := ask(SimpleNamespace(replayed=True, comparison=object()), os.environ):
                raise error

    def step(self, what: str, pick: float) -> None:
        def one(found: list[Any]) -> Any:
            return found[int(pick * len(found))] if found else None

        runs, pull = [*self.actions.runs.values()], one(self.pulls)
        ended = [run for run in runs if run.status == "completed"]
        if what in ("push", "update"):
            self.push(pull, pull.author if what == "push" else "octocat")
        elif what == "reopen":
            self.actions.pull_request(pull, "reopened", "octocat")
        elif what == "title":
            self.actions.pull_request(pull, "edited", pull.author, changes={"title": {"from": "a"}})
        elif what == "midnight":
            self.now += timedelta(hours=14 - self.now.hour % 14)
        elif what == "pending":
            self.actions.variables["PENDING_ANSWERS"] = "on"
        elif what == "by hand" and (run := one([run for run in ended if run.pull])):
            self.by_hand.add(run.github["sha"])
            event = {"inputs": {"run": str(run.id)}}
            github = {"event_name": "workflow_dispatch", "event": event, "actor": "octocat", "ref": "refs/heads/main"}
            self.actions.start("answer-requests.yml", github)
        elif what.startswith("rerun") and (run := one([run for run in ended if run.conclusion in BAD])):
            self.actions.rerun(run, "octocat", everything=what == "rerun all")
        elif what == "cancel" and (run := one([run for run in runs if run.status != "completed"])):
            self.actions.cancel(run, "octocat")
        elif what in ("advance", "lose") and (run := one([run for run in runs if run.status == "in_progress"])):
            self.now += timedelta(minutes=1)
            run.lost = what == "lose"
            self.actions.advance(run)

    def faults(self) -> Iterator[str]:
        yield from (f"newer cancelled: {old.id} by {new.id}" for new, old in self.actions.cancelled if old.id > new.id)
        for run in self.actions.runs.values():
            if run.again > ROUNDS + 1 or run.status != "completed":
                yield f"goes round: run {run.id} of {run.file}, {run.again} re-runs by itself, {run.status}"
        spent: Counter[tuple[str, str]] = Counter()
        for day, sha, dollars in self.asked:
            spent.update({(day, "dollars_per_day"): dollars, (day, sha.partition("-")[0]): dollars})  # type: ignore[dict-item]
            if sha.startswith("9-") and sha not in self.by_hand:
                yield f"a stranger was answered: {sha}"
        for (day, change), dollars in spent.items():
            if dollars > LIMITS.get(change, LIMITS["dollars_per_change"]) + 1e-9:
                yield f"overspent: {dollars} on {day}, {change}"
        yield from (f"no verdict: {pull.sha}: {why}" for pull in self.pulls if (why := self.without_verdict(pull.sha)))

    def without_verdict(self, sha: str) -> str:
        """Why a head commit has neither a verdict nor somebody to wait for."""
        found = [self.actions.checks[sha, name] for name in NAMES if (sha, name) in self.actions.checks]
        if not found:
            return "no check"
        run, result = max(found, key=lambda one: one[0].id)
        if result == "cancelled":  # by a person, or with its machine: it is red, and somebody starts it again
            return f"cancelled by run {run.ended.id}" if isinstance(run.ended, Run) else ""
        awaited = isinstance(run.ended, StepFailedError) and isinstance(run.ended.args[0], AnswersAwaitedError)
        if not awaited and run.results["eval"][1].get("waiting") != "true":
            return ""
        answers = [one for one in self.actions.runs.values() if str(run.id) in waited_by(one)]
        return "" if any(one.conclusion in BAD for one in answers) else f"waits for nobody: run {run.id}"


BAD = ("failure", "cancelled")
NAMES = ("required", "waiting for answers")


def waited_by(run: Run) -> tuple[str, str]:
    event = run.github["event"]
    return str(event.get("workflow_run", {}).get("id")), event.get("inputs", {}).get("run", "")


class Provider:
    """Answers all but each seventh commit. `observers`: who counts the dollars."""

    def __init__(self, world: World) -> None:
        self.world, self.observers = world, list[Any]()

    async def stream(self, messages: Any, _: Any, *, deadline: float) -> AsyncGenerator[Delta, None]:  # noqa: ARG002
        sha = messages[0]["content"].partition(" ")[0]
        self.world.asked.append((str(self.world.now.date()), sha, EACH))
        for observe in self.observers:
            observe(SimpleNamespace(cost=EACH))
        if sha.endswith("7"):
            raise ProviderError(FailureKind.GARBAGE, "no")
        yield Delta("An answer.")
        yield Delta("", "stop", Usage(1, 1), "primary", "m", EACH)


@pytest.fixture
def played(main: Main, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Step]], World]:
    """A function that plays a sequence, and then what is left until nothing happens by itself."""
    main.limit(**LIMITS)
    worlds: list[World] = []
    in_this_process(monkeypatch, lambda: worlds[-1].api)
    clock = SimpleNamespace(now=lambda zone: worlds[-1].now.astimezone(zone))
    monkeypatch.setattr(check_run, "datetime", clock)
    monkeypatch.setattr(answer_requests, "open_chat", lambda *_, **__: Provider(worlds[-1]))
    monkeypatch.setattr(settings, "read_yaml", cache(settings.read_yaml))
    few = {name: os.environ[name] for name in ("HOME", "PATH", "MODEL_KEY")}  # each request looks for proxies in them
    workflows = {name: yaml.safe_load((FILES / name).read_text()) for name in ("ci.yml", "answer-requests.yml")}
    request = cache(main.request)

    def play(sequence: list[Step]) -> World:
        for folder in (main.workspace.root.with_name("changes"), main.workspace.state, main.workspace.build):
            shutil.rmtree(folder, ignore_errors=True)
        with mock.patch.dict(os.environ, few, clear=True):
            worlds[:] = [World(main, request, workflows)]
            for step in sequence:
                worlds[0].step(*step)
            rest, runs = random.Random(1), worlds[0].actions.runs
            for _ in range(500):
                if any(run.status == "in_progress" for run in runs.values()):
                    worlds[0].step("advance", rest.random())
        return worlds[0]

    return play


def shortest(sequence: list[Step], fails: Callable[[list[Step]], bool]) -> list[Step]:
    """Leave out what it fails without."""
    for place in reversed(range(len(sequence))):
        if fails(shorter := sequence[:place] + sequence[place + 1 :]):
            sequence = shorter
    return sequence


FOUND: dict[str, list[Step]] = {
    "a run of a new title that is cancelled": [("title", 0.46), ("push", 0.68), ("push", 0.13), ("cancel", 0.31)],
    "a machine that is lost while a green run waits": [
        ("pending", 0.0), ("advance", 0.19), ("advance", 0.31), ("advance", 0.09), ("advance", 0.18), ("lose", 0.09)
    ],
    "an older run that is run again": [("push", 0.97), ("rerun", 0.82)],
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_stays_mended(played: Callable[[list[Step]], World], name: str) -> None:
    assert [*played(FOUND[name]).faults()] == []


@pytest.mark.parametrize("pending", [False, True])
def test_every_commit_gets_a_verdict_and_nothing_goes_round(
    played: Callable[[list[Step]], World], *, pending: bool
) -> None:
    asked = 0
    for seed in range(SEQUENCES // 2):
        chance = random.Random(seed)
        sequence = [(name, chance.random()) for name in chance.choices([*WHAT], [*WHAT.values()], k=STEPS)]
        sequence = [("pending", 0.0)] * pending + sequence
        world = played(sequence)
        asked += len(world.asked)
        if found := [*world.faults()]:
            few = shortest(sequence, lambda tried: bool([*played(tried).faults()]))
            pytest.fail(f"seed {seed}: {found}; enough for it: {few}, {[*played(few).faults()]}")
    assert asked > SEQUENCES
