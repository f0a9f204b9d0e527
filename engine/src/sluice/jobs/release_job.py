"""The release job, from the working tree to the champion (`sluice release make`).

Each step stores its result on disk, so an interrupted run resumes. The champion moves last.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from sluice.core import git, processes
from sluice.core.atomic_files import read_json, write_json
from sluice.core.closures import SERVE, CodeGraph
from sluice.core.extras import hooks
from sluice.core.params import load_params
from sluice.core.progress import PipelineProgress
from sluice.core.settings import Settings, load_settings
from sluice.core.workspace import Workspace
from sluice.evaluation.reports import phrasing
from sluice.evaluation.response_cache import rebuilding, responses_folder
from sluice.jobs import dvc_pipeline as pipeline
from sluice.jobs.dvc_pipeline import PREPARED, command, environment, evaluate, progress_of, pull, reproduce
from sluice.rehearsal.analysis_runs import JobFiles
from sluice.rehearsal.rehearse import Rehearsal, rehearse
from sluice.rehearsal.services import ReleaseServiceSpec
from sluice.release import champion, mlflow_registry, starter
from sluice.release.decision import REFERENCE, compare_results, decide_release
from sluice.release.environment_record import here
from sluice.release.manifest import JUDGING_CASES, JUDGING_GATES, Images, Manifest, load_judgement
from sluice.release.release_report import write_report
from sluice.release.staging import create, preview
from sluice.release.verdict import reason_of
from sluice.retrieval.stores import Stores
from sluice.rollout.canary_plan import load_plan
from sluice.serving.release_parts import draft_adapter

EXPECTED = {
    **{stage: seconds for stage, seconds in pipeline.EXPECTED.items() if stage != "evaluate"},
    "baseline": 20,
    "evaluate": pipeline.EXPECTED["evaluate"],
    "release": 8,
    "rehearse": 170,
    "promote": 1,
}
_LEFT_OUT = "training does not beat the untrained model and is left out (project.yaml: `without: [finetune]`)"


class RehearsalParameters(Settings):
    """`time_scale` multiplies the durations of the Rollout; `cases`, unless 0, replaces the quality template's."""

    time_scale: float
    cases: int = Field(ge=0)


@dataclass(frozen=True)
class ReleaseOutcome:
    """The result of a release. `rehearsal` is None if it ended before."""

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


def make_release(workspace: Workspace, *, fault: str = "") -> ReleaseOutcome:
    """Release the working tree."""
    record = here(workspace)
    with workspace.exclusive():
        champion.settle(workspace, record)
        live = before = champion.champion(workspace, record)
        stages = {stage: seconds for stage, seconds in EXPECTED.items() if live is None or stage != "baseline"}
        pipeline_progress = progress_of(workspace, stages)
        run_pipeline(workspace, pipeline_progress)
        if live is None:
            live, _ = make_baseline(workspace, pipeline_progress)
            reason = "nothing was live: the untouched model, to compare the first release with"
            champion.promote(workspace, record, live.id, reason=reason)
        manifest, folder = make_candidate(workspace, pipeline_progress, live)
        if manifest.served_digest() == live.served_digest():
            folder = workspace.releases / live.id
            if before is None:  # where nothing is trained, the untouched model is the first release
                write_json(folder / "stages.json", pipeline_progress.taken)
                write_report(folder, live=True)
            made = "unchanged" if before else "promoted"
            return ReleaseOutcome(live, folder, made, "", None, pipeline_progress.taken, before)
        rehearsal, judgement = None, load_judgement(folder)
        reason, verdict = reason_of(judgement.gates), "refused by the gates"
        if not reason:
            rehearsal = run_rehearsal(workspace, manifest, live, pipeline_progress=pipeline_progress, fault=fault)
            reason, verdict = rehearsal.reason, "stopped by the canary"
        if reason:
            champion.reject(workspace, record, manifest.id, reason, commit=judgement.commit)
        else:
            verdict = "promoted"
            pipeline_progress.begin("promote")
            champion.promote(workspace, record, manifest.id, reason=f"every canary step held against {live.id}")
            pipeline_progress.end()
        write_json(folder / "stages.json", pipeline_progress.taken)
        write_report(folder, live=verdict == "promoted")
        return ReleaseOutcome(manifest, folder, verdict, reason, rehearsal, pipeline_progress.taken, live)


def run_pipeline(workspace: Workspace, pipeline_progress: PipelineProgress) -> None:
    """Run the stages before the evaluation as far as they are stale, after ending what killed runs left running."""
    processes.reap(workspace.state)
    load_settings(workspace.config / "stores.yaml", Stores).close_abandoned(workspace.state)
    if rebuilding():
        shutil.rmtree(responses_folder(workspace.state), ignore_errors=True)
    starter.place_responses(workspace)
    pipeline_progress.begin("data")
    pipeline_progress.end(cached=not pull(workspace))
    reproduce(workspace, pipeline_progress, until=PREPARED)


def make_baseline(workspace: Workspace, pipeline_progress: PipelineProgress) -> tuple[Manifest, Path]:
    """Make the first release, the untouched model, for others to be compared with."""
    pipeline_progress.begin("baseline")
    out = workspace.build / ("baseline" if draft_adapter(workspace) else "evaluation")
    evaluate(workspace, pipeline_progress, "--baseline", "--out", str(out))
    commit = git.commit(workspace.root)
    content = _content(workspace, adapter=None)
    manifest, folder = create(workspace, evaluation=out, verdicts=[], parent=None, commit=commit, **content)
    mlflow_registry.record_release(workspace, manifest, folder)
    write_report(folder)
    pipeline_progress.end()
    return manifest, folder


def make_candidate(
    workspace: Workspace, progress: PipelineProgress, live: Manifest, *, images: Images = Images(), bare: bool = False
) -> tuple[Manifest, Path]:
    """Make a release of the pipeline's output and judge it by gates and comparison, or return an equal `live`. Where
    `live` is untrained and training does not beat it, the adapter is left out."""
    adapter = None if bare else draft_adapter(workspace)
    content = _content(workspace, adapter=adapter, images=images)
    if preview(workspace, **content).served_digest() == live.served_digest():
        return live, workspace.releases / live.id
    if adapter and (take := next(iter(hooks("take_adapter").values()), None)):
        content["adapter"] = take(workspace, adapter)
    progress.begin("evaluate")
    evaluate(workspace, progress, "--against", live.id, *(["--baseline"] if bare else []))
    progress.end()
    progress.begin("release")
    evaluation, reference = workspace.build / "evaluation", workspace.build / REFERENCE
    gates = workspace.config / "gates.yaml"
    verdicts = decide_release(gates, evaluation, reference)
    if adapter and live.adapter is None and all(one.passed or one.gate.startswith("comparison") for one in verdicts):
        found = compare_results(gates, evaluation, reference / "cases.jsonl")
        if found.verdict in ("worse", "no difference seen"):
            progress.end(note=f"{_LEFT_OUT}: {phrasing.sentence(found)}")
            return make_candidate(workspace, progress, live, images=images, bare=True)
    manifest, folder = create(
        workspace,
        evaluation=evaluation,
        verdicts=verdicts,
        parent=live.id,
        commit=git.commit(workspace.root),
        reference=reference,
        **content,
    )
    mlflow_registry.record_release(workspace, manifest, folder)
    progress.end()
    return manifest, folder


def run_rehearsal(
    workspace: Workspace,
    manifest: Manifest,
    live: Manifest,
    *,
    pipeline_progress: PipelineProgress,
    fault: str = "",
) -> Rehearsal:
    """Rehearse a release beside the champion."""
    pipeline_progress.begin("rehearse")
    parameters = load_params(workspace.params, "rehearsal", RehearsalParameters)
    folder = workspace.releases / manifest.id
    gates, questions = folder / JUDGING_GATES, folder / JUDGING_CASES
    rehearsal = rehearse(
        load_plan(workspace.root / "k8s" / "base" / "rollout.yaml"),
        stable=_service(workspace, live),
        canary=_service(workspace, manifest, fault),
        files=JobFiles(gates, questions, workspace.root / "loadtest" / "locustfile.py", workspace.state),
        out=folder / "rehearsal.json",
        time_scale=parameters.time_scale,
        cases=parameters.cases,
        on_event=lambda event: pipeline_progress.show(event.fraction, event.text, force=event.news),
    )
    pipeline_progress.end(note=rehearsal.verdict)
    return rehearsal


def _service(workspace: Workspace, manifest: Manifest, fault: str = "") -> ReleaseServiceSpec:
    # Keys of this machine's own service must not keep the visitors and probes of the rehearsal out.
    words = ["serve", "--release", str(workspace.releases / manifest.id), "--port", "{port}", "--keyless"]
    words += ["--fault", fault] if fault else []
    return ReleaseServiceSpec(release=manifest.id, argv=command("sluice", *words), env=environment(workspace))


def _content(workspace: Workspace, **more: Any) -> dict[str, Any]:
    """Return the arguments of `staging.create` for the tree that is checked out."""
    return {
        "data_digest": str(read_json(workspace.build / "check" / "report.json")["digest"]),
        "code": CodeGraph(workspace.root).code_of(SERVE),
        **more,
    }
