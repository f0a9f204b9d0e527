"""The whole road on one machine, with the pipeline and the canary played: where it ends, and what the record says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.core.atomic_files import write_json
from sluice.core.workspace import Workspace
from sluice.jobs import release_job as road
from sluice.jobs.release_job import ReleaseOutcome
from sluice.release import champion, mlflow_registry, staging
from sluice.release.environment_record import here
from sluice.release.manifest import Manifest
from unit.release.conftest import verdict, workspace, write_evaluation

__all__ = ["workspace"]

Walk = Callable[..., ReleaseOutcome]


@pytest.fixture
def walk(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Walk:
    """`gate`: whether it passes; `canary`: why it is stopped."""
    aliases: list[str] = []

    def create(**changed: Any) -> tuple[Manifest, Path]:
        return staging.create(workspace, commit="1" * 40, data_digest="e" * 32, **changed)

    def baseline(*_: Any) -> tuple[Manifest, Path]:
        out = write_evaluation(workspace.build / "baseline", f1=0.1)
        return create(evaluation=out, verdicts=[], parent=None, adapter=None)

    def call(*, gate: bool = True, canary: str = "") -> ReleaseOutcome:
        def candidate(_: Workspace, __: Any, live: Manifest) -> tuple[Manifest, Path]:
            adapter = workspace.build / "adapter" / "adapter.gguf"
            judged = [verdict(passed=gate, reason="gate f1_holds: fell")]
            made = create(evaluation=workspace.build / "evaluation", verdicts=judged, parent=live.id, adapter=adapter)
            if made[0].served_digest() == live.served_digest() and made[0].id != live.id:
                shutil.rmtree(made[1])
            return made

        monkeypatch.setattr(road, "make_candidate", candidate)
        monkeypatch.setattr(road, "run_rehearsal", lambda *_, **__: SimpleNamespace(reason=canary, steps=()))
        return road.make_release(workspace)

    monkeypatch.setattr(road, "run_pipeline", lambda *_: None)
    monkeypatch.setattr(road, "make_baseline", baseline)
    monkeypatch.setattr(road, "write_report", lambda *_, **__: None)
    monkeypatch.setattr(mlflow_registry, "promote_aliases", lambda _, manifest, __: aliases.append(manifest.id))
    return call


def events(workspace: Workspace) -> list[tuple[str, str]]:
    return [(event.event, event.id) for event in here(workspace).history()]


def test_the_first_release_beats_the_untouched_model(walk: Walk, workspace: Workspace) -> None:
    arrival = walk()
    assert arrival.verdict == "promoted"
    baseline = arrival.manifest.parent
    assert events(workspace) == [
        (what, release) for release in (baseline, arrival.manifest.id) for what in ("promoting", "promoted")
    ]


def test_nothing_changed_leaves_the_record(walk: Walk, workspace: Workspace) -> None:
    walk()
    before = events(workspace)
    assert walk().verdict == "unchanged"
    assert events(workspace) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [({"gate": False}, "refused by the gates"), ({"canary": "too slow"}, "stopped by the canary")],
)
def test_a_release_that_is_stopped_is_noted_and_the_champion_stays(
    walk: Walk,
    workspace: Workspace,
    options: dict[str, Any],
    said: str,
) -> None:
    live = walk().manifest.id
    (workspace.build / "adapter" / "adapter.gguf").write_bytes(b"GGUF another")
    arrival = walk(**options)
    assert (arrival.verdict, arrival.passed) == (said, False)
    assert events(workspace)[-1] == ("rejected", arrival.manifest.id)
    assert champion.champion_id(here(workspace)) == live


@pytest.mark.parametrize(
    ("champion_has", "does"),
    [
        ({}, "nothing"),
        ({"scored_by": "older metrics"}, "scores again"),
        ({"scored_by": None}, "scores again"),
        ({"cases_digest": "other", "scored_by": "older metrics"}, "asks again"),
    ],
)
def test_the_champion_s_answers_are_brought_to_the_cases_and_metrics_of_today(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, champion_has: dict[str, Any], does: str
) -> None:
    summary = {"cases_digest": "c", "scored_by": "metrics of today"}
    live = SimpleNamespace(id="r-00000000000a")
    stored = workspace.releases / live.id / "evaluation"
    write_json(workspace.build / "evaluation" / "summary.json", summary)
    write_json(stored / "summary.json", {k: v for k, v in (summary | champion_has).items() if v is not None})
    done: list[tuple[Any, ...]] = []
    monkeypatch.setattr(road, "evaluate", lambda *words: done.append(("asks again", *words[2:])))
    monkeypatch.setattr(road, "draft_bundle", lambda *_, **__: "bundle")
    monkeypatch.setattr(road, "rescore_results", lambda *words: done.append(("scores again", *words[1:])))
    monkeypatch.setattr(road, "write_report", lambda folder, *, live: done.append(("reports", folder, live)))
    pipeline_progress = SimpleNamespace(show=lambda *_, **__: None)
    found = road._champion_results(workspace, pipeline_progress, live, workspace.build / "evaluation")  # type: ignore[arg-type]
    assert found == stored
    assert (
        done
        == {
            "nothing": [],
            "scores again": [("scores again", "bundle", stored), ("reports", stored.parent, True)],
            "asks again": [
                ("asks again", "--release", live.id, "--out", str(stored)),
                ("reports", stored.parent, True),
            ],
        }[does]
    )
