"""A complete red team run: the suites on each target, garak, gates, and the comparison with the previous run."""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

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
from sluice.evaluation.reports.phrasing import ComparedVersion as Described
from sluice.extras.redteam.attack import Attack, AttackFixture, AttackSuite, evenly
from sluice.extras.redteam.garak import GarakParameters, installed, run_garak
from sluice.extras.redteam.report import (
    CASES,
    RESISTED,
    BaselineVerdict,
    FamilyResult,
    RedTeamResult,
    compare_runs,
    families,
    figures,
    record,
    write_reports,
)
from sluice.extras.redteam.suites import ASKED
from sluice.extras.redteam.target import (
    FOLDER,
    SIDES,
    AttackAttempt,
    AttackTarget,
    SystemUnderTest,
    TargetKind,
    attempt_all,
    launch,
)
from sluice.release.champion import champion_id
from sluice.release.environment_record import open_record
from sluice.release.gates import Gate, Stage, decide, load_gates
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import chunk, read_index
from sluice.serving.release_parts import ReleaseBundle, require_prompt

Attacks: TypeAlias = Mapping[str, Sequence[Attack]]  # by family


def planted_index(bundle: ReleaseBundle, attacks: Attacks, out: Path) -> Path:
    """Write the release's index with the attacks' documents to `out`."""
    shutil.rmtree(out, ignore_errors=True)
    planted = {one.document.id: one.document for some in attacks.values() for one in some if one.document}
    documents = [*planted.values()]
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
_VARIABLE = re.compile(r"\{\{.*?\}\}")

Start: TypeAlias = Callable[[TargetKind], AbstractContextManager[AttackTarget]]
Scan: TypeAlias = Callable[[AttackTarget], tuple[str, list[FamilyResult]]]


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
class RedTeamAnswers:
    """Attempts by side, and garak's version and results; `faults` say why garak gave none."""

    attempts: dict[TargetKind, list[AttackAttempt]] = field(default_factory=dict)
    garak: tuple[str, list[FamilyResult]] = ("", [])
    faults: tuple[str, ...] = ()
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
    file, state = workspace.config / "gates.yaml", workspace.state / FOLDER
    gates, policy = load_gates(file), load_policy(file)
    questions = [row.question for row in load_rows(workspace.data / "eval.jsonl") if row.answerable]
    scan = partial(run_garak, installed(), parameters=plan.parameters.garak, folder=state / "garak") if garak else None
    attacks = make_attacks(plan.suites, scene_of(subject.bundle, questions))
    if url:
        there = AttackTarget(url.rstrip("/"), {None: key} if key else {})
        start: Start = lambda _: nullcontext(there)  # noqa: E731
    else:
        index = planted_index(subject.bundle, attacks, state / "index")
        start = partial(launch, workspace, subject.folder, index)
    found = attack(plan, attacks, start, scan)
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


def make_attacks(suites: Mapping[str, AttackSuite], scene: AttackFixture) -> Attacks:
    return {name: list(suite.make(scene)) for name, suite in suites.items()}


def attack(plan: RedTeamPlan, made: Attacks, start: Start, scan: Scan | None) -> RedTeamAnswers:
    """Start, attack and end each side; `scan` runs garak on the released one."""
    began = time.monotonic()
    found = RedTeamAnswers()
    for side in plan.sides:
        owners = side == "unguarded"
        chosen = [made[name] for name, suite in plan.suites.items() if not (owners and suite.unguarded == "not asked")]
        if side == "released" and len(plan.sides) > 1:  # the release's own model is slow: a sample
            chosen = [evenly(attacks, plan.parameters.released_each) for attacks in chosen]
        with start(side) as target:
            found.attempts[side] = attempt_all(
                target,
                [one for attacks in chosen for one in attacks],
                as_owner=owners,
                workers=plan.parameters.released_workers if side == "released" else plan.parameters.workers,
                seconds=plan.parameters.answer_seconds,
                on_progress=StageReporter(f"redteam {side}").report,
            )
            if side == "released" and scan is not None:
                StageReporter("redteam garak").report(0, 1)
                try:
                    found.garak = scan(target)
                except SluiceError as error:  # the suites' figures stand; the run does not pass
                    found.faults = (f"garak: {error.message}",)
    found.seconds = time.monotonic() - began
    return found


def judge(
    plan: RedTeamPlan,
    found: RedTeamAnswers,
    gates: Sequence[Gate],
    policy: ComparisonPolicy,
    *,
    before: Path | None,
    before_title: str,
    out: Path,
) -> RedTeamResult:
    """Write figures, gates, comparison and reports of a run to `out`. Without an earlier run in `before`, successful
    attacks are compared with those of the same run without guards."""
    version, probes = found.garak
    measured = [*families(found.attempts, list(plan.suites)), *probes]
    known = figures(measured)
    wanted = [gate for gate in gates if gate.stage == STAGE]
    judged = wanted if plan.complete else [gate for gate in wanted if gate.metric in known]
    records = {side: [record(one) for one in attempts] for side, attempts in found.attempts.items()}
    subject: TargetKind = "complying" if "complying" in records else "released"
    base, title = records.get("unguarded", []), "the same attacks without guards"
    if before is not None and (before / CASES).is_file():
        stored = read_jsonl(before / CASES)
        if {one["id"] for one in stored} & {one["id"] for one in records[subject]}:
            base, title = stored, before_title
    comparison = compare_runs(base, records[subject], policy)
    against = None
    if comparison is not None:
        broken = tuple(case.id for case in comparison.cases if RESISTED in case.broken)
        fixed = tuple(case.id for case in comparison.cases if RESISTED in case.fixed)
        against = BaselineVerdict(base=title, verdict=comparison.verdict, broken=broken, fixed=fixed)
    result = RedTeamResult(
        subject=plan.subject,
        seconds=round(found.seconds, 1),
        complete=plan.complete,
        unjudged=tuple(gate.metric for gate in wanted if gate not in judged),
        families=tuple(measured),
        garak=version,
        faults=found.faults,
        gates=tuple(decide(judged, STAGE, known, None)),
        against=against,
    )
    out.mkdir(parents=True, exist_ok=True)
    for side, lines in records.items():
        write_jsonl(out / (CASES if side == subject else f"{side}.jsonl"), lines)
    write_reports(out, result, comparison, Described("base", title), Described("head", plan.subject))
    return result
