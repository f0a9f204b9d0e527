"""The release job with the pipeline and the canary played."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.core.workspace import Workspace
from sluice.jobs import release_job as road
from sluice.jobs.release_job import ReleaseOutcome
from sluice.release import champion, mlflow_registry, staging
from sluice.release.decision import REFERENCE
from sluice.release.environment_record import here
from sluice.release.manifest import Manifest, load_judgement
from unit.release.conftest import verdict, workspace, write_evaluation
from unit.template.conftest import edit

__all__ = ["workspace"]

Walk = Callable[..., ReleaseOutcome]


@pytest.fixture
def walk(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Walk:
    aliases: list[str] = []

    def create(**changed: Any) -> tuple[Manifest, Path]:
        return staging.create(workspace, commit="1" * 40, data_digest="e" * 32, **changed)

    def baseline(*_: Any) -> tuple[Manifest, Path]:
        out = write_evaluation(workspace.build / "baseline", f1=0.1)
        return create(evaluation=out, verdicts=[], parent=None, adapter=None)

    def call(*, gate: bool = True, canary: str = "") -> ReleaseOutcome:
        def candidate(_: Workspace, __: Any, live: Manifest) -> tuple[Manifest, Path]:
            adapter = workspace.build / "adapter" / "adapter.gguf"
            if staging.preview(workspace, data_digest="e" * 32, adapter=adapter) == live:
                return live, workspace.releases / live.id
            judged = [verdict(passed=gate, reason="gate f1_holds: fell")]
            return create(evaluation=workspace.build / "evaluation", verdicts=judged, parent=live.id, adapter=adapter)

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
    baseline = load_judgement(arrival.folder).parent
    assert events(workspace) == [
        (what, release) for release in (baseline, arrival.manifest.id) for what in ("promoting", "promoted")
    ]


def test_nothing_changed_leaves_the_record(walk: Walk, workspace: Workspace) -> None:
    walk()
    before = events(workspace)
    assert walk().verdict == "unchanged"
    assert events(workspace) == before


@pytest.mark.parametrize(
    ("options", "said"), [({"gate": False}, "refused by the gates"), ({"canary": "too slow"}, "stopped by the canary")]
)
def test_a_stopped_release_is_noted(walk: Walk, workspace: Workspace, options: dict[str, Any], said: str) -> None:
    live = walk().manifest.id
    (workspace.build / "adapter" / "adapter.gguf").write_bytes(b"GGUF another")
    arrival = walk(**options)
    assert (arrival.verdict, arrival.passed) == (said, False)
    assert events(workspace)[-1] == ("rejected", arrival.manifest.id)
    assert champion.champion_id(here(workspace)) == live


def test_training_that_does_not_beat_the_untrained_model_is_left_out(
    walk: Walk,  # noqa: ARG001
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, ...]] = []
    found = "no difference seen"

    def evaluate(_: Workspace, __: Any, *options: str) -> None:
        asked.append(options)
        for name in ("evaluation", REFERENCE):
            write_evaluation(workspace.build / name)

    monkeypatch.setattr(road, "_content", lambda _, **more: {"data_digest": "e" * 32, **more})
    monkeypatch.setattr(road, "hooks", lambda _: {})
    monkeypatch.setattr(road, "evaluate", evaluate)
    monkeypatch.setattr(road, "decide_release", lambda *_: [verdict()])
    monkeypatch.setattr(road, "compare_results", lambda *_: SimpleNamespace(verdict=found))
    monkeypatch.setattr(road.phrasing, "sentence", lambda _: "0 fixed")
    monkeypatch.setattr(road, "run_rehearsal", lambda *_, **__: SimpleNamespace(reason="", steps=()))
    monkeypatch.setattr(mlflow_registry, "record_release", lambda *_: None)
    first = road.make_release(workspace)
    assert (first.verdict, first.manifest.adapter, first.champion) == ("promoted", None, None)
    assert "training does not beat the untrained model and is left out" in (first.folder / "stages.json").read_text()
    edit(workspace.prompts / "answer.prompt.yml", "{{passages}} ", "{{passages}}: ")
    second = road.make_release(workspace)
    assert (second.verdict, second.manifest.adapter) == ("promoted", None)
    against = ("--against", first.manifest.id)
    assert asked == [against, against, (*against, "--baseline")]
    found = "improved"
    assert road.make_release(workspace).manifest.adapter
