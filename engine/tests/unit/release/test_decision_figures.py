from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.release.decision import figures, reference
from sluice.release.gates import Measurement


def written(folder: Path, rows: list[dict[str, Any]], *, digest: str = "c", **metric: Any) -> Path:
    folder.mkdir()
    f1 = {"value": 0.5, "samples": 30, "errors": 1, "unit": "share", "direction": "higher", **metric}
    latency = {"value": 900.0, "samples": 30, "errors": 0, "unit": "ms", "direction": "lower"}
    summary = {"cases_digest": digest, "cases": 30, "metrics": {"f1": f1, "latency_p95_ms": latency}}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def row(case: str, f1: float | None, latency: float = 1.0, errors: dict[str, str] | None = None) -> dict[str, Any]:
    return {"id": case, "scores": {"f1": f1, "latency_p95_ms": latency}, "errors": errors or {}}


def test_the_worst_cases_come_first_errors_before_all(tmp_path: Path) -> None:
    rows = [row("best", 1.0, 3), row("low", 0.1, 1), row("lower", 0.0, 2), row("crashed", None, 9, {"f1": "boom"})]
    found = figures(written(tmp_path / "e", rows))
    assert (found["f1"].value, found["f1"].samples, found["f1"].errors) == (0.5, 30, 1)
    assert found["f1"].cases == ("crashed", "lower", "low")
    assert found["latency_p95_ms"].cases == ("crashed", "best", "lower", "low")


def test_an_assertion_has_its_share_and_those_that_did_not_hold(tmp_path: Path) -> None:
    held, broken = {"passed": True, "reason": ""}, {"passed": False, "reason": "in de"}
    rows: list[dict[str, Any]] = [
        {"id": "good", "scores": {}, "assertions": {"same_language": held}, "errors": {}},
        {"id": "bad", "scores": {}, "assertions": {"same_language": broken}, "errors": {}},
        {"id": "none", "scores": {}, "assertions": {}, "errors": {}},
        {"id": "crashed", "scores": {}, "errors": {"same_language": "boom"}},
    ]
    folder = written(tmp_path / "e", rows)
    summary = json.loads((folder / "summary.json").read_text())
    share = {"share": 0.5, "passed": 1, "samples": 2, "errors": 1, "unit": "share", "direction": "higher"}
    (folder / "summary.json").write_text(json.dumps(summary | {"assertions": {"same_language": share}}))
    assert figures(folder)["same_language"] == Measurement(0.5, 2, 1, ("crashed", "bad"))


def test_a_champion_that_was_asked_other_cases_is_no_reference(tmp_path: Path) -> None:
    candidate = written(tmp_path / "e", [row("a", 1.0)])
    assert reference(candidate, written(tmp_path / "c", [row("a", 0.5)]))["f1"].value == 0.5
    with pytest.raises(SluiceError, match="asked other cases"):
        reference(candidate, written(tmp_path / "o", [row("a", 1.0)], digest="other"))


def test_a_broken_summary_is_an_error_for_people(tmp_path: Path) -> None:
    folder = written(tmp_path / "e", [])
    (folder / "summary.json").write_text('{"metrics": {"f1": {}}}')
    with pytest.raises(SluiceError, match="not an evaluation summary"):
        figures(folder)
