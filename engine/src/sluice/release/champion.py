"""The live release of an environment, and its promotion.

A promotion has three steps: an intent in the record, the registry's alias, an event that closes the intent. The record
alone decides which release is live. After a `kill -9` between the steps, or where the tracking server dies, `reconcile`
or the same call again completes the promotion; it was decided when the intent was written.

On a tracking server, which others can write to, the alias must name what the record says before anything is begun.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sluice.core import git
from sluice.core.errors import GateFailed, SluiceError, ValidationErrors
from sluice.core.extras import hooks
from sluice.core.tracking import VARIABLE, on_server
from sluice.core.workspace import Workspace
from sluice.llm.model_files import load_models
from sluice.release import mlflow_registry
from sluice.release.catalogue import bring_judgement, bring_release, newest
from sluice.release.environment_record import CLOSED_BY, EnvironmentRecord, What
from sluice.release.manifest import Manifest, load, load_judgement, verify
from sluice.release.prompt_registry import restore_prompts
from sluice.release.verdict import reason_of

# A registry that approves and rejects what the champion is made of: manifest, whether it is approved, why.
Follower = Callable[[Manifest, bool, str], None]


def champion_id(record: EnvironmentRecord) -> str | None:
    """The id of the live release, None when nothing was promoted yet."""
    live = record.champion()
    return live.id if live else None


def champion(workspace: Workspace, record: EnvironmentRecord) -> Manifest | None:
    """The manifest of the live release; None when nothing is live."""
    live = champion_id(record)
    if live is None:
        return None
    try:
        manifest, folder = _found(workspace, record, live)
        load_models(folder / "config" / "models.yaml")
    except SluiceError as error:
        where = f"{record.store}/record/{record.environment}"
        raise SluiceError(
            f"{where}: {live} is live, but cannot be read: {error.message}",
            remedy=f"restore {workspace.releases / live}, or move {where} away to start without a champion",
        ) from error
    return manifest


def refusal(record: EnvironmentRecord, folder: Path) -> str:
    """Why the gates refuse a release; empty for one that passed. What is live is not refused by a later judgement."""
    judgement = load_judgement(folder)
    return "" if judgement.release == champion_id(record) else reason_of(judgement.gates)


def settle(workspace: Workspace, record: EnvironmentRecord) -> Manifest | None:
    """Complete a promotion that was cut off, refuse to begin where MLflow disagrees with the record, and return the
    manifest of what is live."""
    reconcile(workspace, record)
    require_agreement(workspace, record)
    return champion(workspace, record)


def promote(
    workspace: Workspace,
    record: EnvironmentRecord,
    release: str,
    *,
    commit: str = "",
    reason: str = "",
    back: bool = False,
) -> bool:
    """Makes a release the champion: intent, alias, event. One without verdicts may be: the first has nothing to beat.

    Going back to what the record says is live, or to a release where it says nothing, fixes an alias that disagrees.
    What is live may stay, and what was may come back, even if it was judged again since and refused."""
    manifest = _whole(workspace, record, release)
    judgement = load_judgement(workspace.releases / release)
    may_be = record.was_live(release) if back else release == champion_id(record)
    if (refused := judgement.refused_by) and not may_be:
        raise GateFailed(
            f"release {release} was refused by {', '.join(refused)}", remedy="promote one that passed its gates"
        )
    commit = commit or judgement.commit
    live, cut_off = record.champion(), record.pending()
    try:
        require_agreement(workspace, record)
        if cut_off is None and live and (live.id, live.commit) == (release, commit):
            return False
    except ValidationErrors:
        if not back or (live and live.id != release):
            raise
    if record.shared and not back:
        put = (entry.time for entry in newest(record.store) if entry.id == release)
        record.require_not_gone_back(release, next(put, judgement.created))
    intent: What = "rolling-back" if back else "promoting"
    if cut_off is None or (cut_off.event, cut_off.id, cut_off.commit) != (intent, release, commit):
        record.append(intent, release, commit=commit, reason=reason)
    _complete(workspace, record, manifest, intent, commit, reason)
    return True


def restore(workspace: Workspace, record: EnvironmentRecord, release: str) -> str:
    """Makes an earlier release the champion again; returns a sentence for people."""
    with workspace.exclusive():
        chosen = record.previous() if release == "previous" else release
        commit, reason = git.commit(workspace.root), "rolled back by hand"
        moved = promote(workspace, record, chosen, commit=commit, reason=reason, back=True)
    where = f" of {record.environment}" if record.shared else ""
    return f"{chosen} is the champion{where}" + ("" if moved else " already")


def require_agreement(workspace: Workspace, record: EnvironmentRecord) -> None:
    """Refuses to begin where a tracking server's alias is not at what is live. A store of this machine is not asked."""
    if not on_server():
        return
    # A promotion that was cut off has moved its aliases, or some of them, or none.
    may_be = dict.fromkeys(event.id for event in (record.champion(), record.pending()) if event)
    faults = mlflow_registry.disagreements(
        workspace, [_found(workspace, record, name)[0] for name in may_be], record.alias
    )
    if faults:
        env = f" --env {record.environment}" if record.shared else ""
        live = champion_id(record)
        raise ValidationErrors(
            f"{record.environment}: by the record {live or 'nothing'} is live, and {VARIABLE} has another",
            faults,
            remedy=f"`sluice release rollback {live or 'RELEASE'}{env}` moves the aliases to it; then go on",
        )


def reject(workspace: Workspace, record: EnvironmentRecord, release: str, reason: str, *, commit: str = "") -> bool:
    """Notes that a release was refused, also in registries that follow the champion; nothing else changes."""
    begun = record.pending()
    if begun and begun.id == release:
        raise SluiceError(
            f"{release}: its promotion has begun, so it is not refused", remedy="promote it again: that completes it"
        )
    said = next((event for event in record.newest() if event.id == release), None)
    if said and (said.event, said.commit, said.reason) == ("rejected", commit, reason):
        return False
    # Before the record: what is noted there is not done again.
    for follow in _followers(workspace, record):
        follow(_found(workspace, record, release)[0], False, reason)
    record.append("rejected", release, commit=commit, reason=reason)
    return True


def reconcile(workspace: Workspace, record: EnvironmentRecord) -> str | None:
    """Completes a promotion that was cut off. Where its release is damaged, the alias goes back to the live one."""
    cut_off = record.pending()
    if cut_off is None:
        return None
    try:
        manifest = _whole(workspace, record, cut_off.id)
    except SluiceError as error:
        live = champion(workspace, record)
        if live is not None:
            mlflow_registry.promote_aliases(workspace, live, record.alias)
        record.append("abandoned", cut_off.id, commit=cut_off.commit, reason=error.message.splitlines()[0])
        return None
    _complete(workspace, record, manifest, cut_off.event, cut_off.commit, cut_off.reason)
    return cut_off.id


def _complete(
    workspace: Workspace, record: EnvironmentRecord, manifest: Manifest, intent: str, commit: str, reason: str
) -> None:
    # The alias first: what the record says is served, so it says it only when the registry agrees.
    mlflow_registry.promote_aliases(workspace, manifest, record.alias)
    for follow in _followers(workspace, record):
        left = record.champion() if intent == "rolling-back" else None
        if left and left.id != manifest.id:
            follow(_found(workspace, record, left.id)[0], False, f"gone back from: {reason}")
        follow(manifest, True, reason)
    record.append(CLOSED_BY[intent], manifest.id, commit=commit, reason=reason)


def _whole(workspace: Workspace, record: EnvironmentRecord, release: str) -> Manifest:
    manifest, folder = _found(workspace, record, release)
    if manifest.id != release:
        raise SluiceError(f"{folder}: holds release {manifest.id}", remedy="give the folder its name back")
    restore_prompts(workspace, manifest, folder)
    verify(folder, manifest)
    return manifest


def _found(workspace: Workspace, record: EnvironmentRecord, release: str) -> tuple[Manifest, Path]:
    """The release's folder on this machine; one that is known to all machines is brought here first."""
    folder = workspace.releases / release
    if folder.is_dir():
        return (bring_judgement(record.store, folder) if record.shared else load(folder)), folder
    if record.shared:
        return bring_release(record.store, workspace, release)
    raise SluiceError(f"{folder}: no such release", remedy="the releases of this machine are the folders beside it")


def _followers(workspace: Workspace, record: EnvironmentRecord) -> list[Follower]:
    """Registries that follow this record: that of the champion alone, not of an environment before it."""
    if record.alias != mlflow_registry.CHAMPION:
        return []
    return [follow for hook in hooks("champion").values() if (follow := hook(workspace.config))]
