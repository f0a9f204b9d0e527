from __future__ import annotations

from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.serving.middleware import FaultMiddleware, parse_fault


@pytest.mark.parametrize("text", ["delay=1.5", "error=0.5", "error=1", "delay=600"])
def test_a_fault_reads_back_as_it_was_written(text: str) -> None:
    assert str(parse_fault(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dealy=1", "no fault 'dealy' (did you mean 'delay'?)"),
        ("", "no fault ''"),
        ("delay", "'' is not a number"),
        ("delay=soon", "'soon' is not a number"),
        ("delay=1/0", "'1/0' is not a number"),
        ("delay=nan", "'nan' is not a number"),
        ("delay=-1", "-1 is not above 0 and at most 600"),
        ("error=0", "0 is not above 0 and at most 1"),
        ("error=1.01", "1.01 is not above 0 and at most 1"),
    ],
)
def test_what_is_no_fault_is_refused(text: str, said: str) -> None:
    with pytest.raises(SluiceError) as raised:
        parse_fault(text)
    assert said in raised.value.message
    assert "delay=<seconds>" in raised.value.remedy


@pytest.mark.parametrize(("share", "fails"), [("1", 10), ("0.5", 5), ("0.3", 3), ("0.1", 1)])
def test_the_share_of_errors_is_exact(share: str, fails: int) -> None:
    middleware: Any = FaultMiddleware(lambda *_: None, parse_fault(f"error={share}"))  # type: ignore[arg-type]
    assert sum(middleware._fails_next() for _ in range(10)) == fails
