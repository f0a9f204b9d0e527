"""Freed memory between what is still used goes back to the system."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from sluice.extras.finetune import allocator


def resident() -> int:
    """MiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to")
def test_holes_between_what_is_used_are_given_back() -> None:
    torch = pytest.importorskip("torch")
    # Below the size from which each allocation is a mapping of its own, which would go back by itself.
    blocks = [torch.ones(25_000) for _ in range(1_500)]
    kept = blocks[::50]
    blocks.clear()
    before = resident()
    allocator.give_back()
    assert before - resident() > 100
    assert all(bool(block.all()) for block in kept)


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(allocator, "_trim", lambda: asked.append(True))  # and gives None
    allocator.give_back()
    assert asked == [True]
