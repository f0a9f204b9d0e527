from collections.abc import Callable
from typing import Any

import pytest

from sluice.data.rows import Row
from sluice.evaluation.registry import Output


@pytest.fixture
def row() -> Callable[..., Row]:
    def row(*answers: str, docs: tuple[str, ...] | None = None, id: str = "q", **changes: Any) -> Row:
        found = docs if docs is not None else ("right",) if answers else ()
        return Row.model_validate({"id": id, "question": f"{id}?", "answers": answers, "doc_ids": found, **changes})

    return row


@pytest.fixture
def output() -> Callable[..., Output]:
    def output(text: str = "", **changes: Any) -> Output:
        values: dict[str, Any] = {
            "declined": False,
            "retrieved": (),
            "citations": (),
            "latency_ms": 12.34,
            "ttft_ms": 5.67,
            "prompt_tokens": 100,
            "completion_tokens": 10,
        }
        return Output(text=text, **(values | changes))

    return output
