"""torch is not locked: every platform has a build of its own."""

from __future__ import annotations

from conftest import ROOT
from sluice.core.extras import FOLDER


def test_torch_is_asked_for_by_a_range_that_any_build_satisfies() -> None:
    asked = ROOT / FOLDER / "finetune" / "requirements" / "torch.in"
    lines = [line for line in asked.read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if line.startswith("torch")]
    assert not [line for line in lines if "+" in line or "==" in line]
