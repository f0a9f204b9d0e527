"""The steps of answer-requests.yml, run one after the other as GitHub would, with the artifacts between them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.extras.hosted import check_run
from support.actions_api import ActionsApi, archive
from unit.extras.hosted.conftest import KEY, Main

ANSWERING = "answer-requests.yml"
WAITING = 500
NOON = "2026-01-01T12:00:00Z"


class Steps:
    """The steps of answer-requests.yml with the artifacts between them, run by run. `role`: variables of a sign-in to
    AWS, which the step that asks has alone."""

    def __init__(self, main: Main, github: ActionsApi, patch: pytest.MonkeyPatch) -> None:
        self.main, self.github, self.patch = main, github, patch
        self.number = 900
        self.told = ""
        self.role: dict[str, str] = {}

    def run(self, waiting: int = WAITING, *, ask: bool = True, event: str = "workflow_run", attempt: int = 1) -> str:
        """One run; returns the state. `ask`: else it dies before it has asked. `attempt`: later ones are of the run
        before."""
        self.number += attempt == 1
        self.github.add(self.number, ANSWERING, branch="main", created_at=NOON, run_attempt=attempt)
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
        self.github.add(number, **changes)
        self.github.archives[number, "requests-1"] = archive(requests__jsonl=raw)

    def bring(self, number: int = WAITING) -> tuple[int, str]:
        """The step of the pull request's job, at its second attempt."""
        self.set(self.github.environment(number, GITHUB_RUN_ATTEMPT="2"))
        done = self.main.sluice("answers", "bring")
        return done.code, done.text

    @property
    def spent(self) -> list[float]:
        """The dollars of each run that asked, as it left them."""
        found = {}
        for (run, name), raw in self.github.archives.items():
            if name.startswith("spend-"):
                with zipfile.ZipFile(io.BytesIO(raw)) as opened:
                    found[run] = json.loads(opened.read("spend.json"))["dollars"]
        return list(found.values())


def steps_of(main: Main, github: ActionsApi, patch: pytest.MonkeyPatch) -> Steps:
    """It is noon on 1 January 2026."""
    clock = SimpleNamespace(now=lambda zone: datetime.fromisoformat(NOON).astimezone(zone))
    patch.setattr(check_run, "datetime", clock)
    return Steps(main, github, patch)
