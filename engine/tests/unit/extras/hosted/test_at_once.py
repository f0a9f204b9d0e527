"""Eight pull requests at once: their runs are processes of their own, and the model's server counts what it is paid.

GitHub lets one run at a time into a concurrency group, and the others wait (docs.github.com, "Control the concurrency
of workflows and jobs", `queue: max`): a lock for each name of a group stands for that. The name is the workflow's own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from sluice.extras.hosted.request_file import ProviderRequest
from support.actions_api import ActionsApi, archive
from unit.extras.hosted.conftest import KEY, Main, lines
from unit.extras.hosted.steps import NOON

pytestmark = pytest.mark.timeout(3600)

ROOT = Path(__file__).resolve().parents[5]
# `sluice` at noon: a day is that of UTC, and the limit is of a day.
SLUICE = f"""
import sys
from datetime import datetime
from types import SimpleNamespace
from sluice import cli
from sluice.extras.hosted import check_run
check_run.datetime = SimpleNamespace(now=lambda zone: datetime.fromisoformat("{NOON}").astimezone(zone))
sys.exit(cli.main())
"""
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "answer-requests.yml").read_text())
PULL_REQUESTS = range(8)
EACH = 5  # requests of a pull request
LIMIT_S = 300  # a hang guard


class Runners:
    """Machines that run answer-requests.yml, each with a checkout of main of its own. `killed`: pull requests whose run
    dies while it asks."""

    def __init__(self, main: Main, github: ActionsApi, killed: Sequence[int] = ()) -> None:
        self.main, self.github, self.killed = main, github, killed
        self.groups: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def run(self, number: int) -> str:
        """A run for one pull request, from its place in the queue to its end: the state of its check."""
        group = WORKFLOW["concurrency"]["group"]
        with self.groups[f"{group} {number}" if "${{" in group else group]:
            return self._run(number)

    def check(self, number: int) -> str:
        """The first step alone."""
        root = self.main.workspace.root.with_name(f"runner-{number}")
        shutil.copytree(self.main.workspace.root, root)
        output = root.with_name(f"output-{number}")
        output.touch()
        run = 900 + number
        self.github.add(run, "answer-requests.yml", branch="main", status="in_progress", created_at=NOON)
        done = self._sluice(root, run, "check", "--run", str(500 + number), GITHUB_OUTPUT=str(output))
        assert done.wait(LIMIT_S) == 0
        return output.read_text().strip().removeprefix("state=")

    def _run(self, number: int) -> str:
        state = self.check(number)
        root, run = self.main.workspace.root.with_name(f"runner-{number}"), 900 + number
        if state == "ask":
            self._upload(root, run, "spend-reserved-1", "spend.json")
            self.main.model.script = ["hang_in_stream" if number in self.killed else "normal"]
            before = len(self.main.model.asked)
            asking = self._sluice(root, run, "ask", PROVIDER_KEYS=f"MODEL_KEY={KEY}\n")
            if number in self.killed:
                while len(self.main.model.asked) == before:
                    assert asking.poll() is None
                    time.sleep(0.01)
                asking.kill()
                asking.wait(LIMIT_S)
                return "killed"
            assert asking.wait(LIMIT_S) == 0
            self._upload(root, run, "spend-used-1", "spend.json")
        self._upload(root, run, f"answers-{500 + number}", "answers.jsonl")
        return state

    def _sluice(self, root: Path, run: int, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        there = self.github.environment(run, GITHUB_EVENT_NAME="workflow_run", GITHUB_ACTIONS="true", **environment)
        with root.with_name(f"{root.name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", SLUICE, "answers", *words],
                cwd=root,
                env={**kept, **there},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _upload(self, root: Path, run: int, name: str, file: str) -> None:
        raw = (root / "build" / "answers" / file).read_bytes()
        self.github.archives[run, name] = archive(**{file.replace(".", "__"): raw})


def waiting(main: Main, github: ActionsApi) -> tuple[float, float]:
    """Eight runs of ci that wait. The model takes all that a request may cost: dollars of each pull request, and a
    limit that lets three of them through."""
    for number in PULL_REQUESTS:
        asked = [main.request(f"question {one} of {number}") for one in range(EACH)]
        github.add(500 + number, branch=f"change-{number}", created_at=NOON)
        github.archives[500 + number, "requests-1"] = archive(requests__jsonl=lines(*asked))
    request = ProviderRequest.model_validate(asked[0])
    main.model.used = (request.size, request.parameters.max_tokens)
    each = EACH * price(*main.model.used)
    limit = each * 3.5
    main.limit(dollars_per_day=limit, dollars_per_change=limit)
    return each, limit


def price(prompt: int, completion: int) -> float:
    return (prompt * 1.0 + completion * 2.0) / 1e6


@pytest.mark.parametrize("killed", [(), (1, 4, 6)], ids=["all end", "three are killed while they ask"])
def test_eight_at_once_never_spend_more_than_a_day_has(main: Main, github: ActionsApi, killed: tuple[int, ...]) -> None:
    each, limit = waiting(main, github)
    runners = Runners(main, github, killed)
    with ThreadPoolExecutor(len(PULL_REQUESTS)) as pool:
        states = list(pool.map(runners.run, PULL_REQUESTS))
    bill = len(main.model.asked) * price(*main.model.used)
    assert bill <= limit
    assert sorted(states).count("refused") == 5
    assert len(main.model.asked) <= 3 * EACH
    if not killed:
        assert states.count("ask") == 3
        assert bill == pytest.approx(3 * each)
    told = [line for number in PULL_REQUESTS if states[number] == "refused" for line in answers(main, number)]
    assert ["dollars_per_day" in one["refused"] for one in told] == [True] * 5
    seen = b"".join([*github.archives.values(), *masked(main)])
    assert KEY.encode() not in seen


def answers(main: Main, number: int) -> list[dict[str, str]]:
    path = main.workspace.root.with_name(f"runner-{number}") / "build" / "answers" / "answers.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def masked(main: Main) -> list[bytes]:
    """The logs as GitHub shows them: the line that names what is to be masked is a command, and is not shown."""
    logs = [path.read_bytes() for path in main.workspace.root.parent.glob("runner-*.log")]
    assert len(logs) == len(PULL_REQUESTS)
    return [b"\n".join(line for line in log.split(b"\n") if not line.startswith(b"::add-mask::")) for log in logs]


def test_without_the_queue_they_would(main: Main, github: ActionsApi) -> None:
    """Otherwise the limit above would say nothing: eight that see no other's reservation are all let through."""
    waiting(main, github)
    with ThreadPoolExecutor(len(PULL_REQUESTS)) as pool:
        assert list(pool.map(Runners(main, github).check, PULL_REQUESTS)) == ["ask"] * 8


def test_a_provider_that_counts_more_than_was_reserved_is_believed(main: Main, github: ActionsApi) -> None:
    """Its bill is what counts: the next pull request has that much less."""
    each, _ = waiting(main, github)
    main.model.used = (main.model.used[0] * 100, main.model.used[1])
    main.limit(dollars_per_day=each * 3.5, dollars_per_change=each * 3.5)
    runners = Runners(main, github)
    assert [runners.run(number) for number in (0, 1)] == ["ask", "refused"]
    spent = json.loads((main.workspace.root.with_name("runner-0") / "build" / "answers" / "spend.json").read_text())
    assert spent["dollars"] == pytest.approx(EACH * price(*main.model.used))
