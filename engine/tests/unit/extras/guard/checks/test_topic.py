from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sluice.core.errors import SluiceError
from sluice.extras.guard.checks import TopicExamples, TopicOptions
from sluice.guardrails.context import CheckResources
from support.guardrails import finder


def embed(texts: Sequence[str]) -> np.ndarray:
    """One direction for medicine, one for the rest."""
    return np.array([[1.0, 0.0] if "doctor" in text else [0.0, 1.0] for text in texts], np.float32)


OPTIONS = TopicOptions(topics={"medicine": TopicExamples(examples=("What does the doctor say?",))})


def test_what_is_near_to_an_example_is_of_the_topic() -> None:
    find = finder("topic", CheckResources(embed=embed))
    assert [found.reason for found in find("Ask a doctor", OPTIONS)] == ["topic.medicine"]
    assert find("Ask a gardener", OPTIONS) == []


def test_it_needs_an_embedder() -> None:
    with pytest.raises(SluiceError, match="topic needs the embedder"):
        finder("topic")("x", OPTIONS)
