from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sluice.cli.release import summary
from sluice.core.atomic_files import write_json
from sluice.jobs.release_job import ReleaseOutcome


def outcome(folder: Path, verdict: str, reason: str = "", steps: tuple[Any, ...] = ()) -> ReleaseOutcome:
    write_json(
        folder / "evaluation" / "summary.json", {"metrics": {"f1": {"value": 0.75}, "tokens": {"value": 1234.5}}}
    )
    write_json(folder / "evaluation" / "champion.json", {"metrics": {"f1": {"value": 0.5}}})
    made: Any = ReleaseOutcome(
        manifest=SimpleNamespace(id="r-new"),  # type: ignore[arg-type]
        folder=folder,
        verdict=verdict,
        reason=reason,
        rehearsal=SimpleNamespace(steps=steps) if steps else None,  # type: ignore[arg-type]
        stages=[{"stage": "train", "seconds": 3.2}],
        champion=SimpleNamespace(id="r-old"),  # type: ignore[arg-type]
    )
    return made


STEP = SimpleNamespace(
    kind="analysis", template="load", weight=10, seconds=12.4, verdict="failed", reason="p95 `2 s` | limit 1 s"
)


def test_the_summary_has_metrics_and_steps(tmp_path: Path) -> None:
    assert summary(outcome(tmp_path, "stopped by the canary", "too slow", (STEP,))) == (
        "### Release r-new: stopped by the canary\n\n"
        "| reason |\n|---|\n| `too slow` |\n\n"
        "| metric | champion | candidate | change |\n|---|---|---|---|\n"
        "| `f1` | `0.5` | `0.75` | `+0.25` |\n| `tokens` | `none` | `1234` |  |\n\n"
        "| step | weight | seconds | verdict |\n|---|---|---|---|\n"
        "| `analysis load` | `10 %` | `12` | `failed p95 '2 s' ¦ limit 1 s` |\n"
    )
