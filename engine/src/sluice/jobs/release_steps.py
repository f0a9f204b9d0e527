"""The release job as resumable steps that share only an artifact store: the jobs of release.yml."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sluice.core import git
from sluice.core.closures import CODE, PROGRAMS, ROAD, Program, affecting
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.jobs.dvc_pipeline import LOCK, progress_of
from sluice.jobs.release_job import EXPECTED, make_baseline, make_candidate, run_pipeline
from sluice.release import catalogue, champion
from sluice.release.environment_record import EnvironmentRecord
from sluice.release.manifest import Images, Manifest, load_judgement
from sluice.release.release_report import write_report

# Beside code: what a release is made of; and with it, what it is deployed by.
MADE_OF = ("prompts", "config", "data.dvc", "pipelines", "engine/Containerfile")
DEPLOYED_BY = (*MADE_OF, "k8s")


@dataclass(frozen=True)
class ReleasePlan:
    make: bool
    reason: str


def plan(workspace: Workspace, record: EnvironmentRecord) -> ReleasePlan:
    """Decide whether there is anything to release. A commit to docs/ doesn't release a refused release again."""
    decided = record.decided()
    if decided is None:
        return ReleasePlan(True, f"nothing was decided in {record.environment} yet")
    said = f"{decided.commit[:12]}, of which {decided.id} was {decided.event},"
    if decided.commit == git.commit(workspace.root):
        return ReleasePlan(True, f"{said} this commit was already decided; evaluating it again")
    if _is_later(workspace, decided.commit):
        return ReleasePlan(False, f"{said} came after this commit")
    found = _changed(workspace, decided.commit, DEPLOYED_BY, ROAD)
    if found is None:
        return ReleasePlan(True, f"{said} is not in this clone, so nothing can be compared with it")
    if not found:
        return ReleasePlan(False, f"nothing that a release is made of or deployed by has changed since {said[:-1]}")
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return ReleasePlan(True, f"changed since {said} are {found[0]}{more}")


def stage(workspace: Workspace, record: EnvironmentRecord, *, images: Images = Images()) -> tuple[Manifest, Path]:
    """Make and store the candidate of the commit that is checked out; reuse an earlier one for the same champion."""
    commit = git.commit(workspace.root)
    with workspace.exclusive():
        champion.settle(workspace, record)
        live = champion.champion(workspace, record)
        manifest, folder = (
            # First what is live: a commit that was gone back from must not return because its run is repeated.
            _deployed_anew(workspace, record, live)
            or _made_before(workspace, record, commit, live)
            or _made_now(workspace, record, commit, live, images)
        )
        if refused := champion.refusal(record, folder):
            champion.reject(workspace, record, manifest.id, refused, commit=commit)
    return manifest, folder


def reconcile(workspace: Workspace, record: EnvironmentRecord, end_of: Callable[[str], str] | None) -> str:
    """Complete a promotion that was cut off, and settle a release whose job was lost while its rollout went on."""
    if completed := champion.settle(workspace, record):
        return f"{completed}: its promotion was cut off, and is complete now"
    if (lost := record.unknown()) is None:
        return "nothing is left of an earlier run"
    ended = end_of(lost.id) if end_of else "nothing was deployed: there is no cluster"
    if ended == "promoted":
        champion.promote(workspace, record, lost.id, commit=lost.commit, reason="found live in the cluster")
        return f"{lost.id} became live in the cluster while nobody watched; the record says so now"
    champion.reject(workspace, record, lost.id, f"{lost.reason}; later: {ended}", commit=lost.commit)
    return f"{lost.id} did not become live: {ended}"


def stable_of(workspace: Workspace, record: EnvironmentRecord, candidate: Manifest) -> Manifest | None:
    """Return the release that a candidate is rehearsed beside."""
    live = champion.champion(workspace, record)
    if live is None and record.shared:
        _, folder = catalogue.bring_release(record.store, workspace, candidate.id)
        if parent := load_judgement(folder).parent:
            live, _ = catalogue.bring_release(record.store, workspace, parent)
        elif candidate.adapter is None:
            return None
    if live is None:
        raise SluiceError("there is no champion to compare with", remedy="run `make release` first")
    return None if live.id == candidate.id else live


def _made_before(
    workspace: Workspace, record: EnvironmentRecord, commit: str, live: Manifest | None
) -> tuple[Manifest, Path] | None:
    entry = catalogue.made_for(record.store, commit) if _exact(commit) else None
    if entry is None:
        return None
    manifest, folder = catalogue.bring_release(record.store, workspace, entry.id)
    if live is None or live.id in (manifest.id, load_judgement(folder).parent):
        return manifest, folder
    return None  # the champion has changed since: it is judged anew


def _deployed_anew(
    workspace: Workspace, record: EnvironmentRecord, live: Manifest | None
) -> tuple[Manifest, Path] | None:
    event = record.champion()
    if live is None or event is None or _changed(workspace, event.commit, MADE_OF) != []:
        return None
    return live, workspace.releases / live.id


def _made_now(
    workspace: Workspace, record: EnvironmentRecord, commit: str, live: Manifest | None, images: Images
) -> tuple[Manifest, Path]:
    pipeline_progress = progress_of(workspace, EXPECTED)
    run_pipeline(workspace, pipeline_progress)
    if live:
        against = live
    elif entry := catalogue.baseline(record.store):  # the untouched model, of an earlier run
        against, _ = catalogue.bring_release(record.store, workspace, entry.id)
    else:
        against, folder = make_baseline(workspace, pipeline_progress)
        catalogue.add(record.store, workspace, folder, commit, baseline=True)
    manifest, folder = make_candidate(workspace, pipeline_progress, against, images=images)
    if manifest.served_digest() == against.served_digest():
        return against, workspace.releases / against.id
    write_report(folder)
    catalogue.add(record.store, workspace, folder, commit)
    return manifest, folder


def _changed(workspace: Workspace, since: str, paths: Sequence[str], *programs: Program) -> list[str] | None:
    """List files under `paths` and of the programs' code that differ from a commit; None if that can't be told."""
    if not _exact(since):
        return None
    try:
        base = git.resolve(workspace.root, since)
    except SluiceError:
        return None
    found = git.changed(workspace.root, base, paths=[*paths, *CODE], but_for=LOCK)
    return affecting(workspace.root, found, *PROGRAMS.values(), *programs)


def _is_later(workspace: Workspace, commit: str) -> bool:
    """Check that another commit came after the one checked out: a late re-run must not bring old content back."""
    try:
        return git.merge_base(workspace.root, "HEAD", commit) == git.commit(workspace.root)
    except SluiceError:
        return False


def _exact(commit: str) -> bool:
    return bool(commit) and commit != "unknown" and not commit.endswith("-dirty")
