from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from sluice.core.errors import SluiceError
from sluice.release.gates import load_gates
from sluice.rollout.load_measurements import RequestSample
from sluice.rollout.load_stage import settled


@pytest.fixture
def module() -> ModuleType:
    return importlib.import_module("sluice.rollout.load_stage")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "Why?"}\n{"text": "no question"}\n')
    return {
        "SLUICE_ROUTER_URL": "http://127.0.0.1:1",
        "SLUICE_CANARY_URL": "http://127.0.0.1:2",
        "SLUICE_STABLE_URL": "http://127.0.0.1:3",
        "SLUICE_QUESTIONS": str(questions),
        "SLUICE_GATES": "gates.yaml",
        "SLUICE_LOAD_OUT": "out.json",
        "SLUICE_LOAD_USERS": "3",
        "SLUICE_LOAD_DURATION": "2m",
        "SLUICE_LOAD_SHAPE": "steady",
        "SLUICE_LOAD_TIMEOUT": "20s",
    }


def test_everything_comes_from_the_environment(module: ModuleType, env: dict[str, str]) -> None:
    stage = module.LoadStage.from_environment(env)
    assert (stage.users, stage.seconds, stage.answer_timeout) == (3, 120, 20)
    assert stage.questions == ["Why?"]
    assert stage.question() == "Why?"


def test_a_missing_variable_is_named(module: ModuleType, env: dict[str, str]) -> None:
    for name in env:
        rest = {key: value for key, value in env.items() if key != name}
        with pytest.raises(SluiceError, match=f"{name} is not set"):
            module.LoadStage.from_environment(rest)


@pytest.mark.parametrize(("name", "value"), [("USERS", "many"), ("DURATION", "soon"), ("TIMEOUT", "1d")])
def test_an_unreadable_number_is_told(module: ModuleType, env: dict[str, str], name: str, value: str) -> None:
    with pytest.raises(SluiceError, match=value):
        module.LoadStage.from_environment(env | {f"SLUICE_LOAD_{name}": value})


def test_questions_are_needed(module: ModuleType, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text('{"text": "none"}\n')
    with pytest.raises(SluiceError, match="no row has a question"):
        module.LoadStage.from_environment(env)


def test_a_slow_machine_gets_more_time_for_the_pairs_it_needs(module: ModuleType, env: dict[str, str]) -> None:
    stage = module.LoadStage.from_environment(env | {"SLUICE_LOAD_DURATION": "10"})
    stage.pairs_needed = 2
    for pair in (1, 2):
        assert [stage.over(at) for at in (9, 10, 119, 120)] == [False, False, False, True]
        stage.samples += [RequestSample("id", release, pair, "", 1.0, 1.0) for release in ("stable", "canary")]
    assert [stage.over(at) for at in (9, 10)] == [False, True]


@pytest.mark.parametrize(
    ("ratios", "error", "over"),
    [
        ([1.0] * 12, "", True),
        ([3.0] * 12, "", True),  # slow for sure
        ([3.0] * 7 + [1.0] * 6, "", False),  # it may be chance
        ([3.0] * 7 + [1.0] * 6, "status 503", True),  # visitors get errors: it is stopped at once
    ],
)
def test_a_canary_is_not_stopped_by_chance(
    module: ModuleType, env: dict[str, str], ratios: list[float], error: str, over: bool
) -> None:
    stage = module.LoadStage.from_environment(env | {"SLUICE_LOAD_DURATION": "10"})
    gates = load_gates(Path(__file__).parents[4] / "config" / "gates.yaml")
    stage.pairs_needed, stage.settled = 12, partial(settled, gates)
    for pair, ratio in enumerate(ratios):
        for release, time in (("stable", 100.0), ("canary", 100.0 * ratio)):
            stage.samples.append(RequestSample("id", release, pair, "", time, time))
    stage.samples += [RequestSample("id", "canary", None, error, 1.0, 1.0)]
    assert stage.over(10) is over
    assert stage.over(120), "not for ever"


def test_a_failed_probe_prolongs_nothing(module: ModuleType, env: dict[str, str]) -> None:
    stage = module.LoadStage.from_environment(env | {"SLUICE_LOAD_DURATION": "10"})
    stage.pairs_needed = 9
    stage.samples.append(RequestSample("id", "canary", None, "status 503", None, None))
    assert not stage.over(10), "a visit is not a probe"
    stage.samples.append(RequestSample("id", "canary", 1, "no answer", None, None))
    assert [stage.over(at) for at in (9, 10)] == [False, True]
