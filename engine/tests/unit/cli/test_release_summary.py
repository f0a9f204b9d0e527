from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sluice.cli.release import summary
from sluice.core.atomic_files import write_atomic, write_json, write_jsonl
from sluice.jobs.release_job import ReleaseOutcome
from unit.release.conftest import FLOOR


def outcome(folder: Path, verdict: str, reason: str = "", steps: tuple[Any, ...] = ()) -> ReleaseOutcome:
    about = {"samples": 30, "errors": 0, "unit": "share", "direction": "higher"}
    measured = {"f1": {"value": 0.75, **about}, "tokens": {"value": 1234.5, **about}}
    write_json(folder / "evaluation" / "summary.json", {"metrics": measured})
    write_jsonl(folder / "evaluation" / "cases.jsonl", [])
    write_atomic(folder / "judging" / "gates.yaml", FLOOR.replace("0.1", "0.9"))
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


def test_the_summary_has_metrics_steps_and_warnings(tmp_path: Path) -> None:
    assert summary(outcome(tmp_path, "stopped by the canary", "too slow", (STEP,))) == (
        "### Release r-new: stopped by the canary\n\n"
        "| reason |\n|---|\n| `too slow` |\n\n"
        "| metric | champion | candidate | change |\n|---|---|---|---|\n"
        "| `f1` | `0.5` | `0.75` | `+0.25` |\n| `tokens` | `none` | `1234` |  |\n\n"
        "| step | weight | seconds | verdict |\n|---|---|---|---|\n"
        "| `analysis load` | `10 %` | `12` | `failed p95 '2 s' ¦ limit 1 s` |\n"
        "\n`Warning: gate f1_floor: f1 is 0.75; limit: at least 0.9`\n"
    )
