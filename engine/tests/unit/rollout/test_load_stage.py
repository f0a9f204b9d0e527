from dataclasses import replace
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.rollout.load_stage import LoadStage, RequestSample, charge, figures_of
from starter_files import GATES


def _sample(release: str, pair: int | None, total: float | None = 100, error: str = "") -> RequestSample:
    ttft = None if total is None else total / 2
    return RequestSample("id", release, pair, error, total, ttft)  # type: ignore[arg-type]


def test_only_complete_pairs_are_timed() -> None:
    figures = figures_of(
        [
            *(_sample("stable", 1, 100), _sample("canary", 1, 200)),
            *(_sample("stable", 2, 9000), _sample("canary", 2, None, "status 503")),
            _sample("stable", 3, 9000),
        ]
    )
    assert (figures["stable"]["total_p95_ms"].value, figures["stable"]["total_p95_ms"].samples) == (100, 1)
    assert (figures["canary"]["total_p50_ms"].value, figures["canary"]["ttft_p50_ms"].value) == (200, 100)


def test_the_slowdown_is_the_median_of_the_ratios_within_pairs() -> None:
    pairs = [(100, 150), (1000, 1500), (400, 4000), (300, 300), (200, 320)]  # (stable, canary)
    samples = [
        _sample(release, number, time)
        for number, pair in enumerate(pairs)
        for release, time in zip(("stable", "canary"), pair, strict=True)
    ]
    canary = figures_of([*samples, _sample("stable", 9, 1)])["canary"]
    assert (canary["total_slowdown"].value, canary["total_slowdown"].samples) == (1.5, 5)
    assert canary["ttft_slowdown"].value == 1.5
    assert (canary["total_p95_slowdown"].value, canary["total_p95_slowdown"].samples) == (4000 / 1000, 5)
    assert "total_slowdown" not in figures_of(samples)["stable"]


def _written(release: str, pair: int, *, read: float, pace: float, first: int, length: int) -> RequestSample:
    times = (read + pace * length, read + pace * first)
    return RequestSample("id", release, pair, "", *times, length, first)  # type: ignore[arg-type]


@pytest.mark.parametrize(("slower", "first", "length"), [(1.0, 100, 240), (1.5, 12, 30), (3.0, 60, 130)])
def test_an_answer_is_not_slow_for_being_longer_or_shorter(slower: float, first: int, length: int) -> None:
    samples = []
    for pair in range(12):
        samples.append(_written("stable", pair, read=300, pace=2, first=40, length=60 + 10 * pair))
        samples.append(_written("canary", pair, read=300 * slower, pace=2 * slower, first=first, length=length))
    canary = figures_of(samples)["canary"]
    assert canary["total_slowdown"].value == pytest.approx(slower, rel=0.01)
    assert canary["ttft_slowdown"].value == pytest.approx(slower, rel=0.01)
    assert canary["total_p95_slowdown"].value == pytest.approx(slower, rel=0.01)


def test_failures_of_visits_and_probes_both_count_for_the_release_they_are_charged_to() -> None:
    figures = figures_of(
        [
            *(_sample("stable", 1), _sample("canary", 1, None, "status 503")),
            *(_sample("canary", None, None, "status 503"), _sample("stable", None), _sample("canary", None)),
        ]
    )
    assert figures["canary"]["error_rate"].value == pytest.approx(2 / 3)
    assert figures["canary"]["error_rate"].samples == 3
    assert figures["canary"]["error_rate"].cases == ("status 503 (2 of 3)",)
    assert figures["stable"]["error_rate"].value == 0
    assert figures["router"]["error_rate"].value == pytest.approx(1 / 3)
    assert figures["router"]["requests"].value == 3


@pytest.mark.parametrize(
    ("header", "whom"), [("r-old", "stable"), ("r-new", "canary"), (None, "canary"), ("", "canary")]
)
def test_what_is_not_stable_s_is_charged_to_the_canary(header: str | None, whom: str) -> None:
    assert charge(header, stable="r-old") == whom


def _stage(env: dict[str, str], pairs: int) -> LoadStage:
    """Return a stage of 10 s whose gates need so many pairs."""
    stage = LoadStage.from_environment(env | {"SLUICE_LOAD_DURATION": "10"})
    return replace(stage, gates=[gate.model_copy(update={"min_samples": pairs}) for gate in stage.gates])


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "Why?"}\n{"text": "no question"}\n')
    return {
        "SLUICE_ROUTER_URL": "http://127.0.0.1:1",
        "SLUICE_CANARY_URL": "http://127.0.0.1:2",
        "SLUICE_STABLE_URL": "http://127.0.0.1:3",
        "SLUICE_QUESTIONS": str(questions),
        "SLUICE_GATES": str(GATES),
        "SLUICE_LOAD_OUT": "out.json",
        "SLUICE_LOAD_USERS": "3",
        "SLUICE_LOAD_DURATION": "2m",
        "SLUICE_LOAD_SHAPE": "steady",
        "SLUICE_LOAD_TIMEOUT": "20s",
    }


def test_a_missing_variable_is_named(env: dict[str, str]) -> None:
    for name in env:
        rest = {key: value for key, value in env.items() if key != name}
        with pytest.raises(SluiceError, match=f"{name} is not set"):
            LoadStage.from_environment(rest)


@pytest.mark.parametrize(("name", "value"), [("USERS", "many"), ("DURATION", "soon"), ("TIMEOUT", "1d")])
def test_an_unreadable_number_is_told(env: dict[str, str], name: str, value: str) -> None:
    with pytest.raises(SluiceError, match=value):
        LoadStage.from_environment(env | {f"SLUICE_LOAD_{name}": value})


def test_a_slow_machine_gets_more_time_for_the_pairs_it_needs(env: dict[str, str]) -> None:
    stage = _stage(env, 2)
    for pair in (1, 2):
        assert [stage.over(at) for at in (9, 10, 119, 120)] == [False, False, False, True]
        stage.samples += [RequestSample("id", release, pair, "", 1.0, 1.0) for release in ("stable", "canary")]
    assert [stage.over(at) for at in (9, 10)] == [False, True]


@pytest.mark.parametrize(
    ("ratios", "error", "over"),
    [
        ([1.0] * 12, "", True),
        ([3.0] * 7 + [1.0] * 6, "", False),  # it may be chance
        ([3.0] * 10 + [1.0] * 2, "", True),  # one time in fifty
        ([1.0] * 11 + [9.0], "", False),  # as above, of the slowest answers
        ([1.0] * 9 + [9.0] * 3, "", True),
        ([3.0] * 7 + [1.0] * 6, "status 503", True),  # visitors get errors: it is stopped at once
    ],
)
def test_a_canary_is_not_stopped_by_chance(env: dict[str, str], ratios: list[float], error: str, over: bool) -> None:
    stage = _stage(env, 12)
    for pair, ratio in enumerate(ratios):
        for release, time in (("stable", 100.0), ("canary", 100.0 * ratio)):
            stage.samples.append(RequestSample("id", release, pair, "", time, time))
    stage.samples += [RequestSample("id", "canary", None, error, 1.0, 1.0)]
    assert stage.over(10) is over
    assert stage.over(120), "not for ever"


def test_a_failed_probe_prolongs_nothing(env: dict[str, str]) -> None:
    stage = _stage(env, 9)
    stage.samples.append(RequestSample("id", "canary", None, "status 503", None, None))
    assert not stage.over(10), "a visit is not a probe"
    stage.samples.append(RequestSample("id", "canary", 1, "no answer", None, None))
    assert [stage.over(at) for at in (9, 10)] == [False, True]
