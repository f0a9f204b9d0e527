"""`sluice rehearse --type`: what the job hands to the rehearsal."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.jobs import release_job
from starter_files import ROOT, copy_starter


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the job of a type; what the rehearsal was called with."""
    copy_starter(tmp_path, "k8s", "config", "loadtest")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "params.yaml").write_text((ROOT / "pipelines" / "params.yaml").read_text())
    calls: list[dict[str, Any]] = []

    def rehearse(plan: Any, **more: Any) -> Any:
        calls.append({"plan": plan, **more})
        return SimpleNamespace(verdict="passed")

    monkeypatch.setattr(release_job, "rehearse", rehearse)
    monkeypatch.setattr(release_job, "_service", lambda _, manifest, *__: manifest.id)
    shown = SimpleNamespace(begin=lambda _: None, end=lambda **_: None, show=lambda *_, **__: None)

    def run(kind: str) -> dict[str, Any]:
        new, live = (SimpleNamespace(id=name) for name in ("r-new", "r-old"))
        release_job.run_rehearsal(Workspace(tmp_path), new, live, pipeline_progress=shown, kind=kind)  # type: ignore[arg-type]
        return calls[-1]

    return run


@pytest.mark.parametrize(("kind", "name"), [("", "canary"), ("shadow", "shadow"), ("ab", "ab")])
def test_the_plan_and_the_ways_of_visitors_are_those_of_the_type(given: Any, kind: str, name: str) -> None:
    found = given(kind)
    assert found["deployment"].name == name
    assert (found["stable"], found["canary"]) == ("r-old", "r-new")
    # Its own, pinned: the job of a workflow has no data/.
    assert {getattr(found["files"], name).parent.parts[-2:] for name in ("gates", "questions")} == {
        ("r-new", "judging")
    }
    assert len(found["plan"].steps) == {"canary": 9, "shadow": 14, "ab": 6}[name]


def test_without_the_extra_only_a_canary_is_rehearsed(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_job, "hooks", lambda _: {})
    assert given("")["deployment"].name == "canary"
    with pytest.raises(SluiceError, match="--type shadow: the extra deployment_types is not here"):
        given("shadow")
