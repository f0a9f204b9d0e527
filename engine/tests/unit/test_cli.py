"""The exit status of every command, which `main` alone makes, and what `prompts check` prints."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import pytest

from conftest import ROOT
from sluice import cli
from sluice.core.errors import CanaryStopped, GateFailed, SluiceError
from sluice.core.removed import REMOVED
from sluice.core.workspace import Workspace
from sluice.jobs import release_job as road


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "die_with_parent", lambda: None)
    monkeypatch.setattr(cli, "watch_parent", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.mark.parametrize(
    ("raised", "status", "says"),
    [
        (SluiceError("data.dvc: gone", remedy="bring it back"), 1, "error: data.dvc: gone"),
        (CanaryStopped("too slow"), 1, "error: too slow"),
        (GateFailed("f1 fell"), 3, "error: f1 fell"),
        (KeyboardInterrupt(), 130, "interrupted; the next run picks up"),
    ],
)
def test_what_a_command_raises_becomes_its_exit_status(
    raised: BaseException,
    status: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def end(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(road, "make_release", end)
    monkeypatch.setattr(sys, "argv", ["sluice", "release", "make"])
    assert cli.main() == status
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in REMOVED if name.startswith("sluice ")])
def test_a_removed_command_says_what_to_use(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [*name.split(), "--help"])
    assert cli.main() == 1
    assert capsys.readouterr().err == f"error: {name}: this command was removed\n  -> {REMOVED[name]}\n"


def test_a_command_that_ends_well_is_0_and_a_wrong_option_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sluice", "--help"])
    assert cli.main() == 0
    monkeypatch.setattr(sys, "argv", ["sluice", "release", "make", "--falt", "delay=1"])
    assert cli.main() == 2
    assert "--fault" in capsys.readouterr().err


# Those of the extras finetune and synthetic go with them.
PROMPTS = sorted(path.name.partition(".")[0] for path in (ROOT / "prompts").glob("*.prompt.yml"))
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`sluice` with these words in the small checkout: exit status, output, errors."""
    monkeypatch.chdir(workspace.root)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sluice", *words])
        status = cli.main()
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_prompts_are_checked(run: Run, workspace: Workspace) -> None:
    assert {"answer", "condense"} <= set(PROMPTS)
    assert run("prompts", "check") == (
        0,
        f"{len(PROMPTS)} prompts without a fault: {', '.join(PROMPTS)}\n",
        "",
    )
    path = workspace.prompts / "answer.prompt.yml"
    path.write_text(path.read_text().replace("model: chat", "model: embed").replace("{{question}}", "{{qestion}}"))
    status, out, err = run("prompts", "check")
    assert (status, out) == (1, "")
    assert f"{path}:3: model: no role 'embed'" in err
    assert f"{path}:13: messages.1.content: undeclared variable 'qestion' (did you mean 'question'?)" in err
