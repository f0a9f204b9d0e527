"""A checkout of main with a stubbed hosted model, and the steps of answer-requests.yml with GitHub played."""

import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from sluice import cli
from sluice.core.workspace import Workspace
from sluice.evaluation.replay import response_key
from sluice.extras.hosted import check_run
from sluice.llm.model_files import Models
from sluice.llm.settings import ProviderSpec, load_providers
from sluice.prompts import ModelParameters
from support.actions_api import ActionsApi, actions_api, archive
from support.providers.server import Upstream, upstream

# A canary: where any byte of it shows, the key would.
KEY = "canary-5f1d0c77e2b94a6f"
PARAMETERS = {"temperature": 0.0, "max_tokens": 32, "top_p": 1.0, "seed": 1, "stop": []}


@dataclass(frozen=True)
class Outcome:
    code: int
    text: str


@dataclass
class Main:
    workspace: Workspace
    model: Upstream
    sluice: Callable[..., Outcome]

    @property
    def spec(self) -> ProviderSpec:
        return load_providers(self.workspace.config / "providers.yaml", roles=Models.roles()).chat[0]

    def request(self, text: str = "What is a canary?", **changes: Any) -> dict[str, Any]:
        """A request as `sluice eval` writes it, under its right digest."""
        made = {"version": 1, "provider": "primary", "trial": 0, "parameters": dict(PARAMETERS)}
        made |= {"messages": [{"role": "user", "content": text}]} | changes
        if "digest" not in changes:
            asked = ModelParameters.model_validate(PARAMETERS, by_name=True, by_alias=False)
            made["digest"] = response_key(self.spec, [{"role": "user", "content": text}], asked, 0)
        return made

    def limit(self, **changes: Any) -> None:
        path = self.workspace.config / "hosted.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))

    @property
    def answers(self) -> list[dict[str, Any]]:
        path = self.workspace.build / "answers" / "answers.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]


def lines(*requests: Any) -> bytes:
    return "".join(json.dumps(request) + "\n" for request in requests).encode()


def hosted(url: str, **changes: Any) -> str:
    entry = {
        "name": "primary", "kind": "openai_compatible", "model": "m", "base_url": f"{url}/v1", "key_env": "MODEL_KEY",
        "timeouts": {"connect": 30, "queue": 60, "first_token": 60}, "retries": 0, "max_concurrency": 4,
        "breaker": {"window": 20, "failures": 20, "open_seconds": 5}, "prices": {"input": 1.0, "output": 2.0},
    }  # fmt: skip
    embed = [{"name": "local", "kind": "local", "model": "embed"}]
    return yaml.safe_dump({"chat": [entry | changes], "judge": [], "embed": embed})


@pytest.fixture
def main(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    in_process: None,  # noqa: ARG001
    loopback: None,  # noqa: ARG001 - opens the network to this machine
) -> Iterator[Main]:
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("MODEL_KEY", KEY)

    def sluice(*words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sluice", *words])
        code = cli.main()
        said = capfd.readouterr()
        return Outcome(code, said.out + said.err)

    with upstream() as model:
        (workspace.config / "providers.yaml").write_text(hosted(model.url))
        yield Main(workspace, model, sluice)


@pytest.fixture
def github() -> Iterator[ActionsApi]:
    with actions_api() as api:
        yield api


def everything(*folders: Path) -> bytes:
    """The names and contents of all files below folders."""
    files = [path for folder in folders for path in sorted(folder.rglob("*"))]
    return b"".join(str(path).encode() + (path.read_bytes() if path.is_file() else b"") for path in files)


ANSWERING = "answer-requests.yml"
WAITING = 500
FORK = {"id": 2, "name": "app", "full_name": "stranger/app", "owner": {"login": "stranger"}}
NOON = "2026-01-01T12:00:00Z"


class Steps:
    """The steps of answer-requests.yml, run by run. `role`: variables of a sign-in to AWS."""

    def __init__(self, main: Main, github: ActionsApi, patch: pytest.MonkeyPatch) -> None:
        self.main, self.github, self.patch = main, github, patch
        self.number = 900
        self.made, self.told = NOON, ""
        self.role: dict[str, str] = {}
        self.meanwhile: Callable[[], Any] = lambda: None  # before the run is run again

    def run(self, waiting: int = WAITING, *, ask: bool = True, event: str = "workflow_run", attempt: int = 1) -> str:
        """One run; returns the state. Without `ask` it dies before it has asked."""
        self.number += attempt == 1
        self.github.add_run(
            self.number, ANSWERING, branch="main", event=event, created_at=self.made, run_attempt=attempt
        )
        out = self.main.workspace.build / "answers"
        for path in out.glob("*"):
            path.unlink()
        output = self.main.workspace.root.parent / "output"
        output.write_text("")
        self.set(self.github.environment(self.number, GITHUB_EVENT_NAME=event, GITHUB_OUTPUT=str(output)))
        self.set({"GITHUB_RUN_ATTEMPT": str(attempt)})
        self.patch.delenv("MODEL_KEY", raising=False)
        done = self.main.sluice("answers", "check", "--run", str(waiting))
        self.told = done.text
        assert done.code == 0, done.text
        state = output.read_text().strip().removeprefix("state=")
        if state == "ask":
            self._upload(f"spend-reserved-{attempt}", "spend.json")
            self.github.reserved.add((self.number, attempt))
            if not ask:
                return state
            self.patch.setenv("PROVIDER_KEYS", f"MODEL_KEY={KEY}\n")
            self.set(self.role)
            done = self.main.sluice("answers", "ask")
            for name in self.role:
                self.patch.delenv(name)
            self.told += done.text
            assert done.code == 0, done.text
            self._upload(f"spend-used-{attempt}", "spend.json")
        if state != "none":
            self._upload(f"answers-{waiting}", "answers.jsonl")
            self.meanwhile()
            assert self.main.sluice("answers", "resume", "--run", str(waiting)).code == 0
        self.patch.setenv("MODEL_KEY", KEY)
        return state

    def _upload(self, name: str, file: str) -> None:
        raw = (self.main.workspace.build / "answers" / file).read_bytes()
        self.github.archives[self.number, name] = archive(**{file.replace(".", "__"): raw})

    def set(self, environment: Mapping[str, str]) -> None:
        for name, value in environment.items():
            self.patch.setenv(name, value)

    def waits(self, raw: bytes, number: int = WAITING, **changes: Any) -> None:
        """The next attempt of a run has ended, with these requests."""
        attempt = self.github.runs.get(number, {}).get("run_attempt", 1)
        self.github.add_run(number, **{"run_attempt": attempt, **changes})
        self.github.archives[number, f"requests-{attempt}"] = archive(requests__jsonl=raw)

    def bring(self, number: int = WAITING) -> tuple[int, str]:
        self.set(self.github.environment(number, GITHUB_RUN_ATTEMPT="2"))
        done = self.main.sluice("answers", "bring")
        return done.code, done.text

    @property
    def spent(self) -> list[float]:
        found = {}
        for (run, name), raw in self.github.archives.items():
            if name.startswith("spend-"):
                with zipfile.ZipFile(io.BytesIO(raw)) as opened:
                    found[run] = json.loads(opened.read("spend.json"))["dollars"]
        return list(found.values())


@pytest.fixture
def steps(main: Main, github: ActionsApi, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """At noon on 1 January 2026."""
    clock = SimpleNamespace(now=lambda zone: datetime.fromisoformat(NOON).astimezone(zone))
    monkeypatch.setattr(check_run, "datetime", clock)
    return Steps(main, github, monkeypatch)
