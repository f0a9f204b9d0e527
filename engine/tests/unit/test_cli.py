from collections.abc import Callable

import pytest

from conftest import ROOT
from sluice.core.errors import CanaryStopped, GateFailed, SluiceError
from sluice.core.removed import REMOVED
from sluice.core.workspace import Workspace
from sluice.jobs import release_job as road

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("raised", "status", "says"),
    [
        (SluiceError("data.dvc: gone", remedy="bring it back"), 1, "error: data.dvc: gone"),
        (CanaryStopped("too slow"), 1, "error: too slow"),
        (GateFailed("f1 fell"), 3, "error: f1 fell"),
        (ModuleNotFoundError("No module named 'bs4'", name="bs4"), 1, "the package bs4 is not installed here"),
        (KeyboardInterrupt(), 130, "interrupted; the next run picks up"),
    ],
)
def test_exit_code(raised: BaseException, status: int, says: str, monkeypatch: pytest.MonkeyPatch, sluice: Run) -> None:
    def end(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(road, "make_release", end)
    ended, _, err = sluice("release", "make")
    assert ended == status
    assert says in err


@pytest.mark.parametrize("name", [name for name in REMOVED if name.startswith("sluice ")])
def test_a_removed_command_says_what_to_use(name: str, sluice: Run) -> None:
    assert sluice(*name.split()[1:], "--help") == (
        1,
        "",
        f"error: {name}: this command was removed\n  -> {REMOVED[name]}\n",
    )


def test_a_command_that_ends_well_is_0_and_a_wrong_option_is_2(sluice: Run) -> None:
    assert sluice("--help")[0] == 0
    status, _, err = sluice("release", "make", "--falt", "delay=1")
    assert status == 2
    assert "--fault" in err


# Those of the extras finetune and synthetic go with them.
PROMPTS = sorted(path.name.partition(".")[0] for path in (ROOT / "prompts").glob("*.prompt.yml"))


def test_prompts_are_checked(sluice: Run, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.root)
    assert {"answer", "condense"} <= set(PROMPTS)
    assert sluice("prompts", "check") == (0, f"{len(PROMPTS)} prompts without a fault: {', '.join(PROMPTS)}\n", "")
    path = workspace.prompts / "answer.prompt.yml"
    path.write_text(path.read_text().replace("model: chat", "model: embed").replace("{{question}}", "{{qestion}}"))
    status, out, err = sluice("prompts", "check")
    assert (status, out) == (1, "")
    assert f"{path}:3: model: no role 'embed'" in err
    assert f"{path}:13: messages.1.content: undeclared variable 'qestion' (did you mean 'question'?)" in err
