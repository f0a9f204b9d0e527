"""A checkout of main whose chat model is hosted by a stub on this machine, and a way to run commands in it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from sluice import cli
from sluice.core.workspace import Workspace
from sluice.evaluation.replay import response_key
from sluice.llm.model_files import Models
from sluice.llm.settings import ProviderSpec, load_providers
from sluice.prompts import ModelParameters
from support.actions_api import ActionsApi, actions_api
from support.providers.server import Upstream, upstream

# A canary: where any byte of it shows, the key would.
KEY = "canary-5f1d0c77e2b94a6f"
PARAMETERS = {"temperature": 0.0, "max_tokens": 32, "top_p": 1.0, "seed": 1, "stop": []}


@dataclass(frozen=True)
class Outcome:
    """Of a command: its exit code, and all that it printed."""

    code: int
    text: str


@dataclass
class Main:
    """`sluice` runs a command in the checkout."""

    workspace: Workspace
    model: Upstream
    sluice: Callable[..., Outcome]

    @property
    def spec(self) -> ProviderSpec:
        return load_providers(self.workspace.config / "providers.yaml", roles=Models.roles()).chat[0]

    def request(self, text: str = "What is a canary?", **changes: Any) -> dict[str, Any]:
        """A request as `sluice eval` writes it; the digest is right unless it is among the changes."""
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
    """A config/providers.yaml with a hosted model alone."""
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
    loopback: None,  # noqa: ARG001 - opens the network to this machine
) -> Iterator[Main]:
    for name in ("die_with_parent", "watch_parent"):
        monkeypatch.setattr(cli, name, lambda: None)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
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
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[ActionsApi]:
    clock = {"time": time.time, "monotonic": time.monotonic}
    monkeypatch.setattr("github.Requester.time", SimpleNamespace(**clock, sleep=lambda _: None))  # between requests
    with actions_api() as api:
        yield api


def everything(*folders: Path) -> bytes:
    """All that lies below folders, names too."""
    files = [path for folder in folders for path in sorted(folder.rglob("*"))]
    return b"".join(str(path).encode() + (path.read_bytes() if path.is_file() else b"") for path in files)
