"""Which release is live on this machine, and the journal of how it came to be.

The pointer is `.sluice/releases/CHAMPION`. A promotion is four steps: an intent in the journal, the registry's alias
`champion`, the pointer, a line that it is done. After a `kill -9` anywhere between them `reconcile` completes it; it
was decided the moment the intent was written. The journal is append-only, one JSON object a line, synced.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from sluice.core.errors import GateFailed, SluiceError
from sluice.core.files import write_atomic
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.llm.models import load_models
from sluice.release.manifest import Manifest, load, verify

POINTER = "CHAMPION"
JOURNAL = "journal.jsonl"

MoveAlias = Callable[[Workspace, Manifest], None]


class Event(Settings):
    """One line of the journal. `promoting` is the intent, `promoted` and `abandoned` close it."""

    event: Literal["promoting", "promoted", "abandoned", "rejected"]
    id: str
    time: str
    reason: str = ""


def champion_id(workspace: Workspace) -> str | None:
    """The id in the pointer file, None when nothing was promoted here yet."""
    try:
        return (workspace.releases / POINTER).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def champion(workspace: Workspace) -> Manifest | None:
    """The manifest of the live release. A pointer to a release that is gone, changed, or made for a model that is no
    longer served is an error, not None."""
    live = champion_id(workspace)
    if live is None:
        return None
    try:
        manifest = load(workspace.releases / live)
        load_models(workspace.releases / live / "config" / "models.yaml")
    except SluiceError as error:
        raise SluiceError(
            f"{workspace.releases / POINTER}: points to {live}, which cannot be read: {error.message}",
            remedy=f"restore {workspace.releases / live}, or delete the pointer to start without a champion",
        ) from error
    return manifest


def promote(workspace: Workspace, release: str, *, reason: str = "", move_alias: MoveAlias | None = None) -> None:
    """Makes `release` the champion: intent, alias, pointer, done. One that is damaged, or that a gate refused, is
    turned away before the intent. A release with no verdicts may be promoted: the first one has nothing to beat.

    `move_alias` moves the registry's alias and must be safe to repeat; the default is registry.promote_aliases.
    """
    manifest = _whole(workspace, release)
    if refused := [verdict.gate for verdict in manifest.gates if not verdict.passed]:
        raise GateFailed(
            f"release {release} was refused by {', '.join(refused)}", remedy="promote one that passed its gates"
        )
    if champion_id(workspace) == release and pending(workspace) is None:
        return
    _append(workspace, "promoting", release, reason)
    _complete(workspace, manifest, reason, move_alias)


def reject(workspace: Workspace, release: str, reason: str) -> None:
    """Notes that a release was refused; nothing else changes."""
    _append(workspace, "rejected", release, reason)


def reconcile(workspace: Workspace, *, move_alias: MoveAlias | None = None) -> str | None:
    """Completes a promotion that was cut off. Returns the id it completed, None when there was nothing to do.

    When the release of the intent is no longer whole, the alias goes back to the live release and the intent is closed.
    """
    cut_off = pending(workspace)
    if cut_off is None:
        return None
    try:
        manifest = _whole(workspace, cut_off.id)
    except SluiceError as error:
        live = champion(workspace)
        if live is not None:
            (move_alias or _move_alias)(workspace, live)
        _append(workspace, "abandoned", cut_off.id, error.message.splitlines()[0])
        return None
    _complete(workspace, manifest, cut_off.reason, move_alias)
    return cut_off.id


def pending(workspace: Workspace) -> Event | None:
    """The intent of a promotion that was neither completed nor abandoned."""
    events = [event for event in history(workspace) if event.event != "rejected"]
    return events[-1] if events and events[-1].event == "promoting" else None


def history(workspace: Workspace) -> list[Event]:
    """All events, oldest first. A last line without its line end was cut off by a kill and is left out."""
    path = workspace.releases / JOURNAL
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    events = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(Event.model_validate_json(line))
        except ValidationError:
            raise SluiceError(
                f"{path}:{number}: not an event of the journal",
                remedy="correct the line; the journal is only ever appended to",
            ) from None
    return events


def _complete(workspace: Workspace, manifest: Manifest, reason: str, move_alias: MoveAlias | None) -> None:
    # The alias first: the pointer is what this machine serves, so it moves only when the registry agrees.
    (move_alias or _move_alias)(workspace, manifest)
    write_atomic(workspace.releases / POINTER, manifest.id + "\n")
    _append(workspace, "promoted", manifest.id, reason)


def _whole(workspace: Workspace, release: str) -> Manifest:
    folder = workspace.releases / release
    if not folder.is_dir():
        raise SluiceError(f"{folder}: no such release", remedy="the releases of this machine are the folders beside it")
    manifest = load(folder)
    if manifest.id != release:
        raise SluiceError(f"{folder}: holds release {manifest.id}", remedy="give the folder its name back")
    verify(folder, manifest)
    return manifest


def _move_alias(workspace: Workspace, manifest: Manifest) -> None:
    from sluice.release.registry import promote_aliases

    promote_aliases(workspace, manifest)


def _append(workspace: Workspace, event: str, release: str, reason: str) -> None:
    """Adds one synced line. A torn last line of a killed process is cut off first; a full disk leaves it whole."""
    path = workspace.releases / JOURNAL
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"event": event, "id": release, "time": datetime.now(UTC).isoformat(timespec="seconds"), "reason": reason}
    Event.model_validate(record)
    with path.open("a+b") as stream:
        stream.seek(0)
        whole = stream.read().rfind(b"\n") + 1
        stream.truncate(whole)
        try:
            stream.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        except OSError as error:
            os.ftruncate(stream.fileno(), whole)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise SluiceError(
                    f"{path}: no space left on the disk", remedy="free some space and run it again"
                ) from error
            raise
