from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.core.extras import HERE, packages
from sluice.data.rows import Row
from sluice.evaluation import recorded_scores
from sluice.evaluation.output import Output
from sluice.evaluation.recorded_scores import RecordedScores, metrics_digest, scores_digest
from sluice.evaluation.registry import METRICS
from sluice.evaluation.response_cache import ResponseCache
from support.serving.fakes import scripted_bundle


class Counting:
    name, unit, direction, aggregate = "m", "share", "higher", "mean"

    def __init__(self, version: str = "1", result: Any = 0.5) -> None:
        self.version, self.result, self.scored = version, result, 0

    def score(self, row: Row, output: Output) -> Any:  # noqa: ARG002
        self.scored += 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def score(tmp_path: Path, row: Callable[..., Row], output: Callable[..., Output]) -> Ask:
    def score(metric: Any, digest: str = "d", *, answer: str = "x", **changes: Any) -> dict[str, Any]:
        scores = RecordedScores(ResponseCache(tmp_path), [metric], digest)
        return asyncio.run(scores(row(answer), output("text", **changes)))

    return score


def test_the_same_is_scored_once(score: Ask) -> None:
    metric = Counting()
    assert score(metric) == score(metric) == score(metric, recorded=True)
    assert score(metric)["scores"] == {"m": 0.5}
    assert metric.scored == 1


@pytest.mark.parametrize("change", [{"answer": "y"}, {"latency_ms": 1.0}, {"passages": ("p",)}, {"digest": "e"}])
def test_another_row_output_or_digest_is_scored_anew(score: Ask, change: dict[str, Any]) -> None:
    metric = Counting()
    score(metric)
    score(metric, **change)
    assert metric.scored == 2


def test_another_version_is_scored_anew(score: Ask) -> None:
    score(Counting("1", 0.5))
    assert score(Counting("2", 0.25))["scores"] == {"m": 0.25}


def test_results_with_an_error_are_not_kept(score: Ask) -> None:
    assert score(Counting(result=ValueError("no")))["errors"] == {"m": "ValueError: no"}
    assert score(Counting())["scores"] == {"m": 0.5}


def test_the_embedder_and_the_model_decide(tmp_path: Path) -> None:
    bundle = dataclasses.replace(scripted_bundle(), embedder=tmp_path / "e.gguf")
    bundle.embedder.write_bytes(b"1")
    first = scores_digest(bundle, "m")
    assert scores_digest(bundle, "m") == first
    assert scores_digest(bundle, "n") != first
    bundle.embedder.write_bytes(b"2")
    assert scores_digest(bundle, "m") != first


def test_code_and_libraries_of_every_metric_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    first, asked = metrics_digest(), set()
    folders: list[Path] = []

    def newer(library: str) -> str:
        asked.add(library)
        return "99"

    monkeypatch.setattr(recorded_scores, "version", newer)
    assert metrics_digest() != first
    assert asked == {name for one in METRICS.values() for name in one.libraries} >= {"jsonschema", "regex"}
    monkeypatch.setattr(recorded_scores, "digest_of_code", lambda *given: folders.extend(given) or "")
    metrics_digest()
    assert {HERE / package.split(".")[2] for package in packages("metrics")} <= set(folders)


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS["regex"], "libraries", ("no-such-library",), raising=False)
    with pytest.raises(SluiceError, match="the metric 'regex' names a library that is not installed: no-such-library"):
        metrics_digest()
