"""The road in pieces, for machines that have nothing in common but a place: what the jobs of release.yml run.

`plan` tells whether there is anything to release, `stage` makes the candidate of a commit and puts it into the place.
Every piece may be run again after a kill: what was finished is found in the record and not made once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sluice.core import git
from sluice.core.closures import CODE, Program, affecting
from sluice.core.errors import SluiceError
from sluice.core.progress import Journey
from sluice.core.stages import PROGRAMS, ROAD
from sluice.core.workspace import Workspace
from sluice.jobs.dvc import LOCK
from sluice.jobs.release import EXPECTED, make_baseline, make_candidate, refusal, run_pipeline
from sluice.release import catalogue, champion
from sluice.release.manifest import Images, Manifest
from sluice.release.record import Record
from sluice.release.report import write_report

# Beside code: what a release is made of; and with it, what it is deployed by.
MADE_OF = ("prompts", "config", "data.dvc", "pipelines", "engine/Containerfile")
DEPLOYED_BY = (*MADE_OF, "k8s")


@dataclass(frozen=True)
class Plan:
    """`make`: whether there is something to release; `reason` says why, or why not."""

    make: bool
    reason: str


@dataclass(frozen=True)
class Staged:
    """The candidate of a commit. `refused` is empty when it may go on. It is the champion itself where nothing that is
    served has changed: then only what deploys it has."""

    manifest: Manifest
    folder: Path
    refused: str


def plan(workspace: Workspace, record: Record) -> Plan:
    """Compares the commit that is checked out with the last one that was decided about: promoted, refused, gone back
    from. So a page of docs/ after a refused release does not send that one down the road again. In doubt, yes."""
    decided = record.decided()
    if decided is None:
        return Plan(True, f"nothing was decided in {record.environment} yet")
    said = f"{decided.commit[:12]}, of which {decided.id} was {decided.event},"
    if decided.commit == git.commit(workspace.root):
        return Plan(True, f"{said} is this very commit: it is looked at again")
    if _is_later(workspace, decided.commit):
        return Plan(False, f"{said} came after this commit")
    found = _changed(workspace, decided.commit, DEPLOYED_BY, ROAD)
    if found is None:
        return Plan(True, f"{said} is not in this clone, so nothing can be compared with it")
    if not found:
        return Plan(False, f"nothing that a release is made of or deployed by has changed since {said[:-1]}")
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return Plan(True, f"changed since {said} are {found[0]}{more}")


def stage(workspace: Workspace, record: Record, *, images: Images = Images()) -> Staged:
    """Makes the candidate of the commit that is checked out, judges it against the champion of the record, and puts it
    into the place; a refusal is entered. What was made of this commit before, against the same champion, is taken as it
    is. `images`: what a cluster runs it with.

    Raises SluiceError when a stage could not do its work; a release that was refused is a result, not an error.
    """
    commit = git.commit(workspace.root)
    with workspace.exclusive():
        champion.reconcile(workspace, record)
        live = champion.champion(workspace, record)
        manifest, folder = (
            # First what is live: a commit that was gone back from must not return because its run is repeated.
            _only_deployed_anew(workspace, record, live)
            or _made_before(workspace, record, commit, live)
            or _made_now(workspace, record, commit, live, images)
        )
        refused = refusal(manifest)
        if refused:
            champion.reject(workspace, record, manifest.id, refused, commit=commit)
    return Staged(manifest, folder, refused)


def stable_of(workspace: Workspace, record: Record, candidate: Manifest) -> Manifest | None:
    """What a candidate is rehearsed beside: the champion of the record, or at first the untouched model that it was
    judged against. None when there is nothing to compare the candidate with: it is live itself, or the first release of
    a project that trains nothing."""
    live = champion.champion(workspace, record)
    if live is None and candidate.adapter is None and candidate.parent is None and record.shared:
        return None
    if live is None and record.shared and candidate.parent:
        live, _ = catalogue.bring_release(record.place, workspace, candidate.parent)
    if live is None:
        raise SluiceError("there is no champion to rehearse against", remedy="run `make release` first")
    return None if live.id == candidate.id else live


def _made_before(
    workspace: Workspace, record: Record, commit: str, live: Manifest | None
) -> tuple[Manifest, Path] | None:
    entry = catalogue.made_for(record.place, commit) if _exact(commit) else None
    if entry is None:
        return None
    manifest, folder = catalogue.bring_release(record.place, workspace, entry.id)
    if live is None or live.id in (manifest.id, manifest.parent):
        return manifest, folder
    return None  # the champion has changed since: it is judged anew


def _only_deployed_anew(workspace: Workspace, record: Record, live: Manifest | None) -> tuple[Manifest, Path] | None:
    event = record.champion()
    if live is None or event is None or _changed(workspace, event.commit, MADE_OF) != []:
        return None
    return live, workspace.releases / live.id


def _made_now(
    workspace: Workspace, record: Record, commit: str, live: Manifest | None, images: Images
) -> tuple[Manifest, Path]:
    journey = Journey(EXPECTED, workspace.state / "durations.json")
    run_pipeline(workspace, journey)
    against = live or _baseline(workspace, record, journey, commit)
    manifest, folder = make_candidate(workspace, journey, against, images=images)
    if manifest.served_digest() == against.served_digest():
        return against, workspace.releases / against.id
    write_report(folder)
    catalogue.add(record.place, workspace, folder, commit)
    return manifest, folder


def _baseline(workspace: Workspace, record: Record, journey: Journey, commit: str) -> Manifest:
    """The untouched model: that of an earlier run, when one got as far."""
    if entry := catalogue.baseline(record.place):
        return catalogue.bring_release(record.place, workspace, entry.id)[0]
    manifest, folder = make_baseline(workspace, journey)
    catalogue.add(record.place, workspace, folder, commit, baseline=True)
    return manifest


def _changed(workspace: Workspace, since: str, paths: Sequence[str], *programs: Program) -> list[str] | None:
    """Files under `paths`, and of the code of the stages, of what serves and of `programs`, that differ from those of a
    commit; None when it cannot be told."""
    if not _exact(since):
        return None
    try:
        base = git.resolve(workspace.root, since)
    except SluiceError:
        return None
    found = git.changed(workspace.root, base, paths=[*paths, *CODE], but_for=LOCK)
    return affecting(workspace.root, found, *PROGRAMS.values(), *programs)


def _is_later(workspace: Workspace, commit: str) -> bool:
    """Whether the commit that is checked out is among those that led to another. A run that is repeated much later must
    not bring old content back."""
    try:
        return git.merge_base(workspace.root, "HEAD", commit) == git.commit(workspace.root)
    except SluiceError:
        return False


def _exact(commit: str) -> bool:
    """Whether it is a commit, and not one with changes on top."""
    return bool(commit) and commit != "unknown" and not commit.endswith("-dirty")
