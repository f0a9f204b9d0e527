from __future__ import annotations

import pytest
from pydantic import ValidationError

from sluice.rehearsal.rehearse import Rehearsal, StepRecord, TrafficRecord

TRAFFIC = TrafficRecord(requests=3, to_canary=1, failed=0, failed_outside_canary=0)


def test_the_file_says_whether_the_rehearsal_passed() -> None:
    common = {
        "release": "r-2",
        "stable": "r-1",
        "time_scale": 0.1,
        "steps": (),
        "weights": ((0.5, 0),),
        "traffic": TRAFFIC,
    }
    assert Rehearsal(**common, verdict="passed", reason="").passed
    assert not Rehearsal(**common, verdict="failed", reason="slow").passed


def test_an_unknown_verdict_or_kind_is_refused() -> None:
    with pytest.raises(ValidationError):
        StepRecord(index=0, kind="wait", weight=0, started_s=0, seconds=0, verdict="maybe")
