"""Played: a rehearsal with real traffic, MLflow, and a container builder. Results and schemas are the real ones."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sluice.core.atomic_files import write_json
from sluice.core.workspace import Workspace
from sluice.rehearsal.rehearse import Rehearsal, StepRecord, TrafficRecord
from sluice.release.manifest import Manifest
from sluice.rollout.canary_plan import CanaryPlan

STOPPED = "gate canary_errors: error_rate is 0.4, the limit is 0.01"


def rehearse(plan: CanaryPlan, *, stable: Any, canary: Any, out: Path, time_scale: float = 1.0, **_: Any) -> Rehearsal:
    """Every step holds; where PLAYED_CANARY is `stopped`, the first analysis does not; `lost` is the machine's end."""
    if os.environ.get("PLAYED_CANARY") == "lost":
        os.kill(os.getpid(), signal.SIGKILL)
    steps: list[StepRecord] = []
    weights, weight, reason = [(0.0, 0)], 0, ""
    for index, step in enumerate(plan.steps):
        weight = weight if step.weight is None else step.weight
        seconds = step.seconds * time_scale
        if step.template and os.environ.get("PLAYED_CANARY") == "stopped":
            reason = STOPPED
        verdict = "failed" if reason else "passed"
        fields: dict[str, Any] = {"kind": step.kind, "weight": weight, "verdict": verdict, "reason": reason}
        fields["template"] = step.template
        steps.append(StepRecord(index=index, started_s=float(index), seconds=seconds, **fields))
        weights.append((float(index), weight))
        if reason:
            break
    weights.append((float(len(steps)), 0 if reason else 100))
    result = Rehearsal(
        release=canary.release,
        stable=stable.release,
        time_scale=time_scale,
        steps=tuple(steps),
        weights=tuple(weights),
        traffic=TrafficRecord(requests=100, to_canary=3, failed=0, failed_outside_canary=0),
        verdict="failed" if reason else "passed",
        reason=reason,
    )
    write_json(out, result.model_dump(mode="json"))
    return result


@contextmanager
def embedder(_: Any) -> Iterator[Any]:
    from pipeline import HashedVectors

    yield HashedVectors()


@contextmanager
def local_server(*_: Any, **__: Any) -> Iterator[Any]:
    from support.providers.server import upstream

    with upstream() as server:
        yield SimpleNamespace(base_url=server.url)


def take_adapter(workspace: Workspace, evaluated: Path) -> Path:  # noqa: ARG001
    return evaluated


def record_release(workspace: Workspace, manifest: Manifest, folder: Path) -> str:  # noqa: ARG001
    _note("candidate", manifest)
    return f"run-of-{manifest.id}"


def promote_aliases(workspace: Workspace, manifest: Manifest, alias: str = "champion") -> None:  # noqa: ARG001
    _note(alias, manifest)


def _note(alias: str, manifest: Manifest) -> None:
    path = Path(os.environ["PLAYED_PLACE"], "registry.json")
    aliases = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, {**aliases, alias: manifest.id})
