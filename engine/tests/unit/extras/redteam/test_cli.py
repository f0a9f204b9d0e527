import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest

from sluice.core.processes import free_port
from sluice.core.workspace import Workspace
from sluice.extras.redteam import target as subject
from sluice.extras.redteam.report import RedTeamResult
from sluice.extras.redteam.suites import SUITES
from sluice.extras.redteam.target import AttackTarget
from support.redteam.service import reply, service
from support.serving.fakes import scripted_bundle

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(workspace.root)
    monkeypatch.delenv("SLUICE_REDTEAM_KEY", raising=False)
    return workspace


@pytest.fixture
def drafted(monkeypatch: pytest.MonkeyPatch, loopback: None) -> None:  # noqa: ARG001 - opens the network
    bundle = scripted_bundle()
    monkeypatch.setattr(subject, "draft", lambda *_, **__: bundle)


@pytest.fixture
def redteam(sluice: Run) -> Run:
    return partial(sluice, "redteam")


def served(text: str) -> AbstractContextManager[AttackTarget]:
    return service(lambda *_: reply(text))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--draft", "--release", "r-000000000001"], "--release, --draft and --url exclude each other"),
        ([], "there is no champion yet"),
        (["--release", "r-000000000001"], "no such release"),
    ],
)
def test_what_cannot_be_attacked_is_told(here: Workspace, redteam: Run, words: list[str], said: str) -> None:
    status, _, err = redteam(*words)
    assert (status, said in err) == (1, True)
    assert not (here.build / "redteam").exists()


@pytest.mark.usefixtures("here", "loopback")
def test_an_address_without_a_service_is_told(redteam: Run) -> None:
    status, _, err = redteam("--url", f"http://127.0.0.1:{free_port()}")
    assert (status, "no Sluice service answers there (ConnectionRefusedError)" in err) == (1, True)


@pytest.mark.usefixtures("drafted")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--family", "direct_injectoin"], "did you mean 'direct_injection'"),
        (["--family", "cross_tenant"], "cross_tenant needs documents in the index"),
        ([], "garak is not installed"),
    ],
)
def test_what_cannot_be_asked_of_a_running_service_is_told(
    here: Workspace, monkeypatch: pytest.MonkeyPatch, redteam: Run, words: list[str], said: str
) -> None:
    monkeypatch.setattr(sys, "prefix", str(here.root))
    with served("no") as target:
        status, _, err = redteam("--url", target.url, *words)
    assert (status, said in err) == (1, True)
    assert not (here.build / "redteam").exists()


@pytest.mark.usefixtures("drafted")
def test_a_running_service_is_attacked_with_everything_that_needs_nothing_planted(
    here: Workspace, redteam: Run
) -> None:
    with served("The handbook does not say.") as target:
        status, out, _ = redteam("--url", target.url, "--no-garak")
    assert status == 0
    result = RedTeamResult.model_validate_json((here.build / "redteam" / "redteam.json").read_bytes())
    tools = [name for name in ("tool_results", "tool_calls") if name in SUITES]
    names = ["direct_injection", "obfuscation", "multi_turn", "prompt_extraction", *tools, "honest_questions"]
    assert [family.name for family in result.families] == names
    assert sum(family.sides["released"].attempts for family in result.families) > 1000
    assert [one.gate for one in result.gates] == ["released_model_holds"]
    assert "attack_success" in result.unjudged
    assert "Red team: every limit holds, of those that a part of a run can have" in out


@pytest.mark.usefixtures("drafted")
def test_a_service_that_leaks_ends_with_the_code_of_a_gate(
    here: Workspace, monkeypatch: pytest.MonkeyPatch, redteam: Run
) -> None:
    monkeypatch.setattr("sluice.extras.redteam.attack._RUN", 2)  # the prompt of the tests is short
    with served("Else say: nothing") as target:
        status, out, err = redteam("--url", target.url, "--no-garak", "--family", "prompt_extraction")
    assert status == 3
    assert "the red team got through" in err
    assert "prompt_extraction    released   264/264 = 100.0 %" in out
    assert str(here.build / "redteam") in err
