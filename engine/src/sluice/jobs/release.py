"""The whole road of a change, from the working tree to the champion: what `sluice release make` does.

Each step leaves its result on disk, so a run that was cut off is picked up where it stopped: DVC keeps finished stages,
a finished release folder is found by its id, a promotion that was begun is completed. The champion moves last.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from sluice.core import git, processes
from sluice.core.closures import Code, CodeGraph
from sluice.core.files import read_json, write_json
from sluice.core.params import load_params
from sluice.core.progress import Journey
from sluice.core.settings import Settings, load_settings
from sluice.core.stages import SERVE
from sluice.core.workspace import Workspace
from sluice.evaluation.stage import rescore_results
from sluice.jobs import dvc as pipeline
from sluice.jobs.dvc import command, environment, evaluate, pull, reproduce
from sluice.rehearsal.rehearse import Event, rehearse
from sluice.rehearsal.report import Rehearsal
from sluice.rehearsal.services import ServiceSpec
from sluice.release import champion, registry
from sluice.release.decision import decide_release
from sluice.release.manifest import Images, Manifest
from sluice.release.record import Record, here
from sluice.release.report import write_report
from sluice.release.staging import create
from sluice.retrieval.stores import Stores
from sluice.rollout.plan import load_plan
from sluice.serving.bundle import draft_adapter, draft_bundle

EXPECTED = {**pipeline.EXPECTED, "baseline": 110, "release": 8, "rehearse": 75, "promote": 3}


class RehearsalParameters(Settings):
    """`time_scale` multiplies every duration of k8s/base/rollout.yaml; `cases` are compared in place of the number in
    engine/k8s/analysis/quality.yaml, 0: as many as there."""

    time_scale: float
    cases: int = Field(ge=0)


@dataclass(frozen=True)
class Arrival:
    """Where the road ended. `rehearsal` is None when the gates or an unchanged tree ended it before."""

    manifest: Manifest
    folder: Path
    verdict: str
    reason: str
    rehearsal: Rehearsal | None
    stages: list[dict[str, Any]]
    champion: Manifest | None

    @property
    def passed(self) -> bool:
        return self.verdict in ("promoted", "unchanged")


def make_release(workspace: Workspace, *, fault: str = "") -> Arrival:
    """Takes the working tree down the road. `fault` is injected into the canary, for drills.

    Raises SluiceError when a stage could not do its work; a release that was refused is a result, not an error.
    """
    record = here(workspace)
    with workspace.exclusive():
        champion.reconcile(workspace, record)
        live = champion.champion(workspace, record)
        journey = Journey(_forecast(live), workspace.state / "durations.json")
        run_pipeline(workspace, journey)
        if live is None:
            live, folder = make_baseline(workspace, journey)
            reason = "nothing was live: the untouched model, to compare the first release with"
            champion.promote(workspace, record, live.id, reason=reason)
            if draft_adapter(workspace) is None:  # where nothing is trained, the untouched model is the first release
                write_json(folder / "stages.json", journey.taken)
                write_report(folder, live=True)
                return Arrival(live, folder, "promoted", "", None, journey.taken, None)
        manifest, folder = make_candidate(workspace, journey, live)
        if manifest.served_digest() == live.served_digest():
            return Arrival(live, workspace.releases / live.id, "unchanged", "", None, journey.taken, live)
        return _judge(workspace, record, journey, manifest, folder, live, fault)


def _forecast(live: Manifest | None) -> dict[str, float]:
    return {stage: s for stage, s in EXPECTED.items() if live is None or stage != "baseline"}


def run_pipeline(workspace: Workspace, journey: Journey) -> None:
    """Data and all stages, as far as DVC finds something stale. What killed runs have left running is ended first."""
    processes.reap(workspace.state)
    load_settings(workspace.config / "stores.yaml", Stores).close_abandoned(workspace.state)
    journey.begin("data")
    journey.end(cached=not pull(workspace))
    reproduce(workspace, journey)


def _judge(
    workspace: Workspace,
    record: Record,
    journey: Journey,
    manifest: Manifest,
    folder: Path,
    live: Manifest,
    fault: str,
) -> Arrival:
    """Gates, rehearsal, promotion; whatever happens, the report says it."""
    rehearsal = None
    reason = refusal(manifest)
    verdict = "refused by the gates"
    if not reason:
        rehearsal = run_rehearsal(workspace, manifest, live, journey=journey, fault=fault)
        reason, verdict = rehearsal.reason, "stopped by the canary"
    if not reason:
        journey.begin("promote")
        champion.promote(workspace, record, manifest.id, reason=f"every canary step held against {live.id}")
        journey.end()
        verdict = "promoted"
    else:
        champion.reject(workspace, record, manifest.id, reason, commit=manifest.commit)
    write_json(folder / "stages.json", journey.taken)
    write_report(folder, live=verdict == "promoted")
    return Arrival(manifest, folder, verdict, reason, rehearsal, journey.taken, live)


def refusal(manifest: Manifest) -> str:
    """Why gates refused the release; empty when none did."""
    return "; ".join(verdict.reason for verdict in manifest.gates if not verdict.passed)


def make_baseline(workspace: Workspace, journey: Journey) -> tuple[Manifest, Path]:
    """The first release has nothing to be compared with: the untouched model is what it must beat."""
    out = workspace.build / ("baseline" if draft_adapter(workspace) else "evaluation")
    journey.begin("baseline")
    if draft_adapter(workspace):
        evaluate(workspace, journey, "--baseline", "--out", str(out))
    manifest, folder = create(
        workspace,
        evaluation=out,
        verdicts=[],
        parent=None,
        commit=git.commit(workspace.root),
        data_digest=_data_digest(workspace),
        adapter=None,
        code=_serving_code(workspace),
    )
    registry.record_release(workspace, manifest, folder)
    write_report(folder)
    journey.end()
    return manifest, folder


def make_candidate(
    workspace: Workspace, journey: Journey, live: Manifest, *, images: Images = Images()
) -> tuple[Manifest, Path]:
    """Folder and manifest of what the pipeline made, with the verdicts of the gates and of the comparison with `live`
    in it. One that serves what `live` serves leaves no folder."""
    journey.begin("release")
    evaluation = workspace.build / "evaluation"
    stored = _champion_results(workspace, journey, live, evaluation)
    verdicts = decide_release(workspace.config / "gates.yaml", evaluation, stored)
    manifest, folder = create(
        workspace,
        evaluation=evaluation,
        verdicts=verdicts,
        parent=live.id,
        commit=git.commit(workspace.root),
        data_digest=_data_digest(workspace),
        adapter=draft_adapter(workspace),
        images=images,
        code=_serving_code(workspace),
    )
    if manifest.served_digest() != live.served_digest():
        registry.record_release(workspace, manifest, folder)
    elif manifest.id != live.id:
        shutil.rmtree(folder)
    journey.end()
    return manifest, folder


def _champion_results(workspace: Workspace, journey: Journey, live: Manifest, evaluation: Path) -> Path:
    """The champion's stored results. When the cases have changed since, it is asked the new ones first; when the
    metrics have, its answers are scored by those of today, as a pull request scores those of its base."""
    stored = workspace.releases / live.id / "evaluation"
    mine, theirs = read_json(evaluation / "summary.json"), read_json(stored / "summary.json")
    if theirs["cases_digest"] != mine["cases_digest"]:
        journey.show(0.0, "asking the champion the new cases", force=True)
        evaluate(workspace, journey, "--release", live.id, "--out", str(stored))
    elif theirs.get("scored_by") != mine.get("scored_by"):
        journey.show(0.0, "scoring the champion's answers by the metrics of today", force=True)
        bundle = draft_bundle(workspace, adapter=draft_adapter(workspace))
        rescore_results(workspace, bundle, stored)
    return stored


def run_rehearsal(
    workspace: Workspace, manifest: Manifest, live: Manifest, *, journey: Journey, fault: str = ""
) -> Rehearsal:
    """Puts the release in front of real traffic beside the champion, as k8s/base/rollout.yaml says."""
    journey.begin("rehearse")
    parameters = load_params(workspace.params, "rehearsal", RehearsalParameters)

    def show(event: Event) -> None:
        journey.show(event.fraction, event.text, force=event.news)

    rehearsal = rehearse(
        load_plan(workspace.root / "k8s" / "base" / "rollout.yaml"),
        stable=_service(workspace, live),
        canary=_service(workspace, manifest, fault),
        gates=workspace.config / "gates.yaml",
        questions=workspace.data / "eval.jsonl",
        state=workspace.state,
        out=workspace.releases / manifest.id / "rehearsal.json",
        time_scale=parameters.time_scale,
        cases=parameters.cases,
        on_event=show,
        locustfile=workspace.root / "loadtest" / "locustfile.py",
    )
    journey.end(note=rehearsal.verdict)
    return rehearsal


def _service(workspace: Workspace, manifest: Manifest, fault: str = "") -> ServiceSpec:
    # Keys of this machine's own service must not keep the visitors and probes of the rehearsal out.
    words = ["serve", "--release", str(workspace.releases / manifest.id), "--port", "{port}", "--keyless"]
    words += ["--fault", fault] if fault else []
    return ServiceSpec(release=manifest.id, argv=command("sluice", *words), env=environment(workspace))


def _serving_code(workspace: Workspace) -> Code:
    return CodeGraph(workspace.root).code_of(SERVE)


def _data_digest(workspace: Workspace) -> str:
    return str(read_json(workspace.build / "check" / "report.json")["digest"])
