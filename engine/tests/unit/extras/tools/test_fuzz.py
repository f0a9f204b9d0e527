"""Random models and random people: nothing is written that nobody approved. benchmarks/approvals.py has 10,000 runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sluice.extras.tools.approvals import Approvals
from support.tool_fuzz import fuzz, write_config

_WAYS = ("approve", "at once", "bare", "deny", "late", "never", "stranger", "twice")


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_written_that_nobody_approved(tmp_path: Path, seed: int) -> None:
    tally = asyncio.run(fuzz(100, seed, write_config(tmp_path)))
    assert tally.unapproved == []
    assert all(tally.events[way] for way in (*_WAYS, "written", "call unapproved", "refused with 409"))


def test_the_fuzz_finds_a_gate_that_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def take(*_: Any) -> str:
        return "anybody-0"

    monkeypatch.setattr(Approvals, "take", take)
    monkeypatch.setattr(Approvals, "note", take)
    assert asyncio.run(fuzz(60, 1, write_config(tmp_path))).unapproved != []
