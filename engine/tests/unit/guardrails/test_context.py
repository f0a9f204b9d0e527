from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sluice.guardrails import check
from sluice.guardrails.check import CheckContext, CheckResources


def test_texts_of_two_requests_are_normalized_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is looked at only once the other is, too; and once each."""
    both = threading.Barrier(2)
    looked: list[str] = []

    def normalize(text: str) -> Any:
        looked.append(text)
        both.wait(240)
        return text

    monkeypatch.setattr(check, "normalize_text", normalize)
    checked = [CheckContext(text, CheckResources()) for text in ("one", "two")]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda one: one.normalized, checked)) == ["one", "two"]
    assert [one.normalized for one in checked] == ["one", "two"]
    assert sorted(looked) == ["one", "two"]
