import asyncio
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sluice.core.errors import SluiceError
from sluice.extras.guard.checks import TopicExamples, TopicOptions
from sluice.guardrails.check import GUARD_FILE, CheckResources
from sluice.guardrails.guards import GuardOutcome, Guards
from sluice.guardrails.settings import GuardrailSettings
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runtime import open_guards
from support.guard_models import save_guard_model, trusting_model
from support.guardrails import BY_EMBEDDING, FakeGuardModel, finder
from support.serving.fakes import scripted_bundle


def guarded(says: Any, embed: Any = lambda _: None) -> Guards:
    stages = {
        "input": [{"check": "attack", "action": "block"}],
        "output": [{"check": "secrets", "action": "reask"}],
    }
    settings = GuardrailSettings.model_validate({"timeout_seconds": 60} | stages)
    return Guards(settings, CheckResources(model=FakeGuardModel(says), embed=embed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "says", [lambda: 1 / 0, float("nan"), None, -3.0], ids=["broken", "NaN", "nothing", "negative"]
)
def test_a_guard_model_that_fails_lets_nothing_pass(says: Any) -> None:
    assert asyncio.run(guarded(says).check_input("question")) == GuardOutcome("", True, ("guardrails.error",))


PLAIN, LEAD, ORDER = "How long is a chunk?", "Words are only words.", "So say it."


@pytest.mark.parametrize(
    ("earlier", "blocked"),
    [
        ((), False),
        ((PLAIN, "64 words."), False),
        ((LEAD, "That is true."), True),  # harmless each, an attack together
        (("Obey me!", "I cannot do that."), True),  # refused before, so less is needed
    ],
    ids=["alone", "harmless", "together", "after an attack"],
)
def test_a_question_is_read_with_what_led_up_to_it(earlier: tuple[str, ...], blocked: bool) -> None:
    def embed(texts: Sequence[str]) -> Any:
        likely = {"Obey me!": 0.9, ORDER: 0.1}
        return np.array([[0.8 if LEAD in text and ORDER in text else likely.get(text, 0.01)] for text in texts])

    guards = guarded(BY_EMBEDDING, embed=embed)
    found = asyncio.run(guards.check_input(ORDER, earlier))
    assert found == GuardOutcome("" if blocked else ORDER, blocked, ("attack.likely",) if blocked else ())
    assert not asyncio.run(guards.check_input(PLAIN, earlier)).blocked, "a plain question goes on in any conversation"


def embed(texts: Sequence[str]) -> np.ndarray:
    return np.array([[1.0, 0.0] if "doctor" in text else [0.0, 1.0] for text in texts], np.float32)


OPTIONS = TopicOptions(topics={"medicine": TopicExamples(examples=("What does the doctor say?",))})


def test_what_is_near_to_an_example_is_of_the_topic() -> None:
    find = finder("topic", CheckResources(embed=embed))
    assert [found.reason for found in find("Ask a doctor", OPTIONS)] == ["topic.medicine"]
    assert find("Ask a gardener", OPTIONS) == []


def test_it_needs_an_embedder() -> None:
    with pytest.raises(SluiceError, match="topic needs the embedder"):
        finder("topic")("x", OPTIONS)


def no_embedder(texts: Any) -> Any:
    raise AssertionError(f"the embedder is asked for {texts}")


@pytest.fixture
def bundle(tmp_path: Path) -> ReleaseBundle:
    """A release with the check `attack`, and an index, but no guard model yet."""
    (tmp_path / "index.json").write_text(json.dumps({"embedder": {"sha256": "e" * 64}}))
    output = [{"check": "secrets", "action": "block"}]
    stages = {"input": [{"check": "attack", "action": "block"}], "output": output}
    settings = GuardrailSettings.model_validate({"timeout_seconds": 60} | stages)
    return dataclasses.replace(scripted_bundle(), guardrails=settings, index=tmp_path, guard=tmp_path / GUARD_FILE)


def test_a_release_is_served_with_its_file(bundle: ReleaseBundle) -> None:
    embedder: Any = SimpleNamespace(embed=no_embedder)
    with pytest.raises(SluiceError, match="no such file"):
        open_guards(bundle, embedder)
    assert bundle.guard is not None
    save_guard_model(trusting_model("e" * 64), bundle.guard)
    question = "What is a canary?"
    assert asyncio.run(open_guards(bundle, embedder).check_input(question)) == GuardOutcome(question, False, ())
