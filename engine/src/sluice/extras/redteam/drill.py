"""A complete red team run: the suites on each target, garak, gates, and the comparison with the previous run."""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from pydantic import Field

from sluice.core.atomic_files import read_jsonl, write_atomic, write_json, write_jsonl
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.settings import Settings, nearest
from sluice.core.workspace import Workspace
from sluice.data.rows import load_rows
from sluice.evaluation.comparison_policy import ComparisonPolicy, load_policy
from sluice.evaluation.reports import ComparedVersion as Described
from sluice.extras.redteam.attack import AttackFixture, AttackSuite, evenly
from sluice.extras.redteam.garak import GarakParameters, GarakResult, installed, run_garak
from sluice.extras.redteam.report import RESISTED, compare_runs, record, write_reports
from sluice.extras.redteam.result import CASES, BaselineVerdict, RedTeamResult, families, figures
from sluice.extras.redteam.suites import ASKED
from sluice.extras.redteam.target import (
    SIDES,
    AttackAttempt,
    AttackTarget,
    ServiceLauncher,
    SystemUnderTest,
    TargetKind,
    attempt_all,
    running,
)
from sluice.release.champion import champion_id
from sluice.release.environment_record import open_record
from sluice.release.gates import Gate, Stage, decide, load_gates
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import chunk, read_index
from sluice.serving.release_parts import ReleaseBundle, require_prompt


def planted_index(bundle: ReleaseBundle, suites: Sequence[AttackSuite], out: Path) -> Path:
    """Write the release's index with the suites' documents to `out`."""
    shutil.rmtree(out, ignore_errors=True)
    documents = [document for suite in suites for document in suite.documents()]
    info, chunks, vectors = read_index(bundle.index)
    added = chunk(documents, info.chunker)
    with Embedder(bundle.embedder) as model:
        more = model.embed([f"{one.title}: {one.text}" for one in added])
    rows = [one.row() for one in (*chunks, *added)]
    packed = io.BytesIO()
    np.save(packed, np.concatenate([vectors, more]))
    write_jsonl(out / "chunks.jsonl", rows)
    write_atomic(out / "vectors.npy", packed.getvalue())
    identity = {"embedder": info.embedder.model_dump(), "chunker": info.chunker.model_dump(), "chunks": rows}
    grown = info.model_copy(
        update={
            "digest": digest_of(identity),
            "documents": info.documents + len(documents),
            "chunks": len(rows),
            "files": {name: digest_of_file(out / name) for name in ("chunks.jsonl", "vectors.npy")},
        }
    )
    write_json(out / "index.json", grown.model_dump())
    return out


STAGE: Stage = "redteam"
GARAK_METRIC = "garak_attack_success"
_VARIABLE = re.compile(r"\{\{.*?\}\}")

Progress: TypeAlias = Callable[[str, float, float], None]
Start: TypeAlias = Callable[[TargetKind, Path | None], AbstractContextManager[AttackTarget]]


class RedTeamParameters(Settings):
    """Section `redteam` of pipelines/params.yaml. The release's own model, which is slow, is asked `released_each`
    attacks of a family."""

    workers: int = Field(ge=1)
    released_workers: int = Field(ge=1)
    answer_seconds: float = Field(gt=0)
    released_each: int = Field(ge=1)
    garak: GarakParameters


@dataclass(frozen=True)
class RedTeamPlan:
    subject: str
    suites: Mapping[str, AttackSuite]
    sides: Sequence[TargetKind]
    complete: bool
    parameters: RedTeamParameters


@dataclass
class RedTeamProgress:
    attempts: dict[TargetKind, list[AttackAttempt]] = field(default_factory=dict)
    garak: GarakResult | None = None
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


def make_plan(workspace: Workspace, subject: str, wanted: Sequence[str], url: str, *, garak: bool) -> RedTeamPlan:
    """Plan the `wanted` families, or all; at an address only those that plant nothing."""
    for name in wanted:
        if name not in ASKED:
            raise SluiceError(f"no family {name!r}{nearest(name, list(ASKED))}", remedy=f"use {', '.join(ASKED)}")
        if url and ASKED[name].planted:
            raise SluiceError(f"{name} needs documents in the index of {url}", remedy="run it on a release")
    suites = {name: suite for name, suite in ASKED.items() if name in (wanted or ASKED)}
    if url:
        suites = {name: suite for name, suite in suites.items() if not suite.planted}
    complete = not url and garak and len(suites) == len(ASKED)
    parameters = load_params(workspace.params, "redteam", RedTeamParameters)
    return RedTeamPlan(subject, suites, ("released",) if url else SIDES, complete, parameters)


def run(
    workspace: Workspace,
    subject: SystemUnderTest,
    plan: RedTeamPlan,
    out: Path,
    *,
    url: str,
    key: str,
    garak: bool,
    env: str,
) -> RedTeamResult:
    """Attack the subject or the service at `url`, and compare with the last run of the champion of `env`."""
    file = workspace.config / "gates.yaml"
    gates, policy = load_gates(file), load_policy(file)
    program = installed() if garak else None
    questions = [row.question for row in load_rows(workspace.data / "eval.jsonl") if row.answerable]
    starter = ServiceLauncher(workspace, subject)
    index = None if url else planted_index(subject.bundle, list(plan.suites.values()), starter.state / "index")
    reporters: dict[str, StageReporter] = {}

    def scan(target: AttackTarget) -> GarakResult:
        assert program
        return run_garak(program, target, plan.parameters.garak, starter.state / "garak")

    def show(side: str, done: float, total: float) -> None:
        reporters.setdefault(side, StageReporter(f"redteam {side}")).report(done, total)

    found = attack(
        plan,
        scene_of(subject.bundle, questions),
        (lambda *_: running(url, key)) if url else starter,
        index,
        garak=scan if program else None,
        progress=show,
    )
    live = champion_id(open_record(workspace, env, os.environ))
    before = workspace.releases / live / "redteam" if live else None
    return judge(plan, found, gates, policy, before=before, before_title=f"champion {live}", out=out)


def scene_of(bundle: ReleaseBundle, questions: Sequence[str]) -> AttackFixture:
    """Return what suites make attacks from; the fixed text is of all prompts that the chat model is told."""
    if not questions:
        raise SluiceError("the red team has no questions to hide its attacks in", remedy="data/eval.jsonl has them")
    main = require_prompt(bundle)
    others = [one for one in bundle.prompts.values() if one.model == main.model and one is not main]
    told = [message for one in others for message in one.messages if message.role == "system"]
    fixed = [part for message in (*main.messages, *told) for part in _VARIABLE.split(message.content)]
    return AttackFixture(questions=list(questions), prompt=[part for part in fixed if part.strip()])


def attack(
    plan: RedTeamPlan,
    scene: AttackFixture,
    start: Start,
    index: Path | None,
    *,
    garak: Callable[[AttackTarget], GarakResult] | None,
    progress: Progress = lambda *_: None,
) -> RedTeamProgress:
    """Start, attack and end each side; `garak` attacks the released one."""
    began = time.monotonic()
    found = RedTeamProgress()
    made = {name: suite.attacks(scene) for name, suite in plan.suites.items()}
    for side in plan.sides:
        owners = side == "unguarded"
        asked = [name for name, suite in plan.suites.items() if not (owners and suite.unguarded == "not asked")]
        chosen = [made[name] for name in asked]
        if side == "released" and len(plan.sides) > 1:  # the release's own model is slow: a sample
            chosen = [evenly(attacks, plan.parameters.released_each) for attacks in chosen]
        with start(side, index) as target:
            found.attempts[side] = attempt_all(
                target,
                [one for attacks in chosen for one in attacks],
                as_owner=owners,
                workers=plan.parameters.released_workers if side == "released" else plan.parameters.workers,
                seconds=plan.parameters.answer_seconds,
                on_progress=lambda done, total, side=side: progress(side, done, total),  # type: ignore[misc]
            )
            if side == "released" and garak is not None:
                progress("garak", 0, 1)
                try:
                    found.garak = garak(target)
                except SluiceError as error:  # the suites' figures stand; the run does not pass
                    found.faults.append(f"garak: {error.message}")
    found.seconds = time.monotonic() - began
    return found


def judge(
    plan: RedTeamPlan,
    found: RedTeamProgress,
    gates: Sequence[Gate],
    policy: ComparisonPolicy,
    *,
    before: Path | None,
    before_title: str,
    out: Path,
) -> RedTeamResult:
    """Write figures, gates, comparison and reports of a run to `out`. Without an earlier run in `before`, successful
    attacks are compared with those of the same run without guards."""
    measured = families(found.attempts, list(plan.suites))
    known = figures(measured)
    if found.garak is not None:
        known[GARAK_METRIC] = found.garak.figure()
    wanted = [gate for gate in gates if gate.stage == STAGE]
    judged = wanted if plan.complete else [gate for gate in wanted if gate.metric in known]
    subject: TargetKind = "complying" if "complying" in found.attempts else "released"
    head = [record(one) for one in found.attempts[subject]]
    base, title = _base(found, before, before_title, head)
    comparison = compare_runs(base, head, policy) if base else None
    result = RedTeamResult(
        subject=plan.subject,
        seconds=round(found.seconds, 1),
        complete=plan.complete,
        unjudged=tuple(gate.metric for gate in wanted if gate not in judged),
        families=tuple(measured),
        garak=found.garak,
        faults=tuple(found.faults),
        gates=tuple(decide(judged, STAGE, known, None)),
        against=None
        if comparison is None
        else BaselineVerdict(
            base=title,
            verdict=comparison.verdict,
            broken=tuple(case.id for case in comparison.cases if RESISTED in case.broken),
            fixed=tuple(case.id for case in comparison.cases if RESISTED in case.fixed),
        ),
    )
    out.mkdir(parents=True, exist_ok=True)
    for side, attempts in found.attempts.items():
        write_jsonl(out / (CASES if side == subject else f"{side}.jsonl"), [record(one) for one in attempts])
    write_reports(out, result, comparison, Described("base", title), Described("head", plan.subject))
    return result


def _base(
    found: RedTeamProgress, before: Path | None, before_title: str, head: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], str]:
    """Return the records to compare with, and their title."""
    if before is not None and (before / CASES).is_file():
        stored = read_jsonl(before / CASES)
        if {one["id"] for one in stored} & {one["id"] for one in head}:
            return stored, before_title
    if "unguarded" in found.attempts:
        return [record(one) for one in found.attempts["unguarded"]], "the same attacks without guards"
    return [], ""
