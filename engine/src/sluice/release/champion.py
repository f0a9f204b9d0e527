"""The live release of an environment, its promotion, and what follows it: MLflow's alias and other registries.

The record alone decides which release is live. A promotion has three steps: an intent in the record, the followers, an
event that closes the intent. After a `kill -9` between them, `settle` completes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sluice.core import git
from sluice.core.errors import GateFailed, SluiceError, ValidationErrors
from sluice.core.extras import hooks
from sluice.core.tracking import VARIABLE, on_server
from sluice.core.workspace import Workspace
from sluice.llm.model_files import load_models
from sluice.release import mlflow_registry
from sluice.release.catalogue import find_release, newest
from sluice.release.environment_record import CLOSED_BY, EnvironmentRecord, What
from sluice.release.manifest import Manifest, load_judgement, verify
from sluice.release.verdict import reason_of


def champion_id(record: EnvironmentRecord) -> str | None:
    live = record.champion()
    return live.id if live else None


def champion(workspace: Workspace, record: EnvironmentRecord) -> Manifest | None:
    """Return the manifest of the live release; None if nothing was promoted yet."""
    live = champion_id(record)
    if live is None:
        return None
    try:
        manifest, folder = find_release(workspace, record, live)
        load_models(folder / "config" / "models.yaml")
    except SluiceError as error:
        where = f"{record.store}/record/{record.environment}"
        raise SluiceError(
            f"{where}: {live} is live, but cannot be read: {error.message}",
            remedy=f"restore {workspace.releases / live}, or move {where} away to start without a champion",
        ) from error
    return manifest


def refusal(record: EnvironmentRecord, folder: Path) -> str:
    """Return why the gates refuse a release; empty if they don't, or if it is live and was only judged again."""
    judgement = load_judgement(folder)
    return "" if judgement.release == champion_id(record) else reason_of(judgement.gates)


def settle(workspace: Workspace, record: EnvironmentRecord) -> str | None:
    """Make MLflow and the other followers agree with the record; commands call it before they begin something.

    A promotion that was cut off is completed and its release returned, or abandoned if that is damaged. On a tracking
    server, aliases that somebody moved go back to the live release. The record of one machine doesn't own the aliases
    of a server: there, and where nothing is live, a disagreement is an error."""
    completed = None
    if cut_off := record.pending():
        try:
            manifest = _whole(workspace, record, cut_off.id)
        except SluiceError as error:
            if live := champion(workspace, record):
                mlflow_registry.promote_aliases(workspace, live, record.alias)
            record.append("abandoned", cut_off.id, commit=cut_off.commit, reason=error.message.splitlines()[0])
        else:
            _complete(workspace, record, manifest, cut_off.event, cut_off.commit, cut_off.reason)
            completed = manifest.id
    if not on_server():
        return completed
    live = champion(workspace, record)
    faults = mlflow_registry.disagreements(workspace, live, record.alias)
    if faults and (live is None or not record.shared):
        env = f" --env {record.environment}" if record.shared else ""
        raise ValidationErrors(
            f"{record.environment}: by the record {live.id if live else 'nothing'} is live, and {VARIABLE} has another",
            faults,
            remedy=f"`sluice release rollback {live.id if live else 'RELEASE'}{env}` moves the aliases; then go on",
        )
    if faults and live:
        print(*(f"{fault}: repaired" for fault in faults), sep="\n", file=sys.stderr)
        _follow(workspace, record, live, "live by the record")
    return completed


def promote(
    workspace: Workspace,
    record: EnvironmentRecord,
    release: str,
    *,
    commit: str = "",
    reason: str = "",
    back: bool = False,
) -> bool:
    """Make a release the champion: intent, followers, event. Return False if it already was.

    A release that is live may stay, and with `back` one that was live may return, even if it was refused since."""
    manifest = _whole(workspace, record, release)
    judgement = load_judgement(workspace.releases / release)
    may_be = record.was_live(release) if back else release == champion_id(record)
    if (refused := judgement.refused_by) and not may_be:
        raise GateFailed(
            f"release {release} was refused by {', '.join(refused)}", remedy="promote one that passed its gates"
        )
    commit = commit or judgement.commit
    live = record.champion()
    if record.pending() is None and live and (live.id, live.commit) == (release, commit):
        _follow(workspace, record, manifest, reason)
        return False
    if record.shared and not back:
        put = (entry.time for entry in newest(record.store) if entry.id == release)
        record.require_not_gone_back(release, next(put, judgement.created))
    intent: What = "rolling-back" if back else "promoting"
    record.append(intent, release, commit=commit, reason=reason)
    _complete(workspace, record, manifest, intent, commit, reason)
    return True


def restore(workspace: Workspace, record: EnvironmentRecord, release: str) -> str:
    """Make an earlier release the champion again; return a sentence for people."""
    with workspace.exclusive():
        chosen = record.previous() if release == "previous" else release
        commit, reason = git.commit(workspace.root), "rolled back by hand"
        moved = promote(workspace, record, chosen, commit=commit, reason=reason, back=True)
    where = f" of {record.environment}" if record.shared else ""
    return f"{chosen} is the champion{where}" + ("" if moved else " already")


def reject(workspace: Workspace, record: EnvironmentRecord, release: str, reason: str, *, commit: str = "") -> bool:
    """Record that a release was refused, also in registries that follow the champion."""
    begun = record.pending()
    if begun and begun.id == release:
        raise SluiceError(
            f"{release}: its promotion has begun, so it is not refused", remedy="promote it again: that completes it"
        )
    said = next((event for event in record.newest() if event.id == release), None)
    if said and (said.event, said.commit, said.reason) == ("rejected", commit, reason):
        return False
    # Before the record: what is noted there is not done again.
    _approve(workspace, record, release, False, reason)
    record.append("rejected", release, commit=commit, reason=reason)
    return True


def _complete(
    workspace: Workspace, record: EnvironmentRecord, manifest: Manifest, intent: str, commit: str, reason: str
) -> None:
    # The followers first: what the record says is served, so it says it only when they agree.
    _follow(workspace, record, manifest, reason, left=champion_id(record) if intent == "rolling-back" else None)
    record.append(CLOSED_BY[intent], manifest.id, commit=commit, reason=reason)


def _follow(
    workspace: Workspace, record: EnvironmentRecord, manifest: Manifest, reason: str, *, left: str | None = None
) -> None:
    mlflow_registry.promote_aliases(workspace, manifest, record.alias)
    if left and left != manifest.id:
        _approve(workspace, record, left, False, f"gone back from: {reason}")
    _approve(workspace, record, manifest.id, True, reason)


def _approve(workspace: Workspace, record: EnvironmentRecord, release: str, approved: bool, reason: str) -> None:
    """Tell the registries that approve what the champion is made of; they don't follow earlier environments."""
    if record.alias == mlflow_registry.CHAMPION:
        for hook in hooks("champion").values():
            if follow := hook(workspace.config):
                follow(find_release(workspace, record, release)[0], approved, reason)


def _whole(workspace: Workspace, record: EnvironmentRecord, release: str) -> Manifest:
    manifest, folder = find_release(workspace, record, release)
    if manifest.id != release:
        raise SluiceError(f"{folder}: holds release {manifest.id}", remedy="give the folder its name back")
    verify(folder, manifest)
    return manifest
