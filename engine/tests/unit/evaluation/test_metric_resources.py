"""What metrics measure with: loaded at the first text that needs it, asked in few batches, closed at the end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.core.errors import SluiceError
from sluice.evaluation import metric_resources
from sluice.evaluation.metric_batching import MetricBatcher
from sluice.evaluation.metric_resources import open_metrics
from sluice.evaluation.metrics.answer_similarity import AnswerSimilarity
from sluice.evaluation.registry import METRICS
from sluice.evaluation.scoring import run_metrics
from sluice.llm.settings import Providers
from support.serving.fakes import provider_entry, scripted_bundle


class Embedder:
    """In place of the real one: the same vector for every text. Keeps what happens to it."""

    happened: list[str]

    def __init__(self, model: Path) -> None:
        self.happened.append(f"open {model}")

    def embed(self, texts: list[str]) -> np.ndarray:
        self.happened.append(f"embed {len(texts)}")
        return np.tile(np.array([[0.6, 0.8]]), (len(texts), 1))

    def __enter__(self) -> Embedder:
        return self

    def __exit__(self, *_: object) -> None:
        self.happened.append("close")


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    Embedder.happened = []
    monkeypatch.setattr(metric_resources, "Embedder", Embedder)
    return Embedder.happened


def score(metrics: Any, *pairs: Any) -> list[dict[str, Any]]:
    async def all_of_them() -> list[dict[str, Any]]:
        return await asyncio.gather(*(run_metrics(row, output, metrics) for row, output in pairs))

    return asyncio.run(all_of_them())


def test_all_metrics_in_the_order_of_the_registry(happened) -> None:
    with open_metrics(scripted_bundle()) as metrics:
        assert [metric.name for metric in metrics] == [name for name in METRICS if name != "judge"]
        assert all(METRICS[one.name] in (one, type(one)) for one in metrics)
    assert happened == []


def test_a_judge_that_nothing_here_can_ask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project without the extra whose providers still name one: silence would be a metric that is not there."""
    bundle = scripted_bundle()
    providers = Providers.model_validate(bundle.providers.model_dump() | {"judge": [provider_entry()]})
    monkeypatch.setattr(metric_resources, "hooks", lambda _: {})
    refused = pytest.raises(SluiceError, match="left out the extra `calibration`")
    with refused as error, open_metrics(replace(bundle, providers=providers)):
        pass
    assert "empty `judge` in config/providers.yaml" in error.value.remedy


def test_all_cases_are_embedded_in_one_call_and_it_is_closed(happened, row, output) -> None:
    pairs = [(row(f"expected {number}"), output(f"found {number}")) for number in range(50)]
    with open_metrics(scripted_bundle()) as metrics:
        found = score([metric for metric in metrics if metric.name == "answer_similarity"], *pairs)
    assert [case["scores"]["answer_similarity"] for case in found] == [pytest.approx(1.0)] * 50
    assert happened == ["open embedder.gguf", "embed 100", "close"]


def test_nothing_is_loaded_when_words_are_enough(happened, row, output) -> None:
    pairs = [(row("64 tokens"), output("64 tokens.", passages=("They share 64 tokens.",)))]
    with open_metrics(scripted_bundle()) as metrics:
        chosen = [metric for metric in metrics if isinstance(metric, AnswerSimilarity) or metric.name == "groundedness"]
        (found,) = score(chosen, *pairs)
    assert found["scores"] == {metric.name: 1.0 for metric in chosen}
    assert happened == []


@pytest.mark.usefixtures("happened")
def test_an_embedder_that_fails_is_an_error_of_each_case(row, output, monkeypatch) -> None:
    def fail(self: Embedder, texts: list[str]) -> None:  # noqa: ARG001
        raise MemoryError("full")

    monkeypatch.setattr(Embedder, "embed", fail)
    with open_metrics(scripted_bundle()) as metrics:
        found = score(
            [metric for metric in metrics if metric.name == "answer_similarity"],
            (row("a"), output("b")),
            (row("c"), output("d")),
            (row("e"), output("e")),
        )
    errors = {"answer_similarity": "MemoryError: full"}
    assert [case["errors"] for case in found] == [errors, errors, {}]


ANGLES = {"right": 0.0, "near": np.pi / 3, "far": np.pi / 2, "opposite": np.pi}


@pytest.mark.parametrize(
    ("answers", "text", "declined", "similarity"),
    [
        (("right",), "near", False, 0.5),
        (("far", "right"), "near", False, pytest.approx(np.cos(np.pi / 6))),  # the closest counts
        (("right",), "opposite", False, 0.0),
        (("right",), "The right!", False, 1.0),
        (("right",), " ", False, 0.0),
        (("right",), "near", True, None),
        ((), "near", False, None),
    ],
)
def test_answer_similarity(row, output, answers, text, declined, similarity) -> None:
    def embed(texts: list[str]) -> list[np.ndarray]:
        return [np.array([np.cos(ANGLES[text]), np.sin(ANGLES[text])]) for text in texts]

    (found,) = score([AnswerSimilarity(MetricBatcher(embed))], (row(*answers), output(text, declined=declined)))
    expected = pytest.approx(similarity, abs=1e-9) if isinstance(similarity, float) else similarity
    assert found["scores"]["answer_similarity"] == expected


@pytest.mark.real
def test_the_real_embedder_tells_a_paraphrase_from_something_else(models, row, output) -> None:
    pairs = [
        (row("the engineer on call is woken"), output("The on-call engineer gets woken up.")),
        (row("the engineer on call is woken"), output("Vectors have 384 dimensions.")),
        (row("两周"), output("🙂" * 2000)),
    ]
    with open_metrics(replace(scripted_bundle(), embedder=models.embed)) as metrics:
        found = score([metric for metric in metrics if metric.name == "answer_similarity"], *pairs)
    same, other, odd = (case["scores"]["answer_similarity"] for case in found)
    assert same > 0.8
    assert other < 0.3
    assert 0 <= odd <= 1
