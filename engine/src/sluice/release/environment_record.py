"""The record of an environment: an append-only list that decides which release is live
(engine/docs/reference/record.md)."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, Literal, TypeVar

from pydantic import ValidationError

from sluice.core.digests import canonical_json
from sluice.core.errors import GateFailed, SluiceError
from sluice.core.extras import hooks
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.release.artifact_store import ArtifactStore, open_artifact_store
from sluice.release.verdict import ReleaseId

E = TypeVar("E", bound=Settings)

_ATTEMPTS = 50


@dataclass(frozen=True)
class AppendLog(Generic[E]):
    store: ArtifactStore
    folder: str
    model: type[E]

    def newest(self) -> Iterator[E]:
        """Iterate over entries, newest first; each is read when it is asked for."""
        return (self._read(name) for name in reversed(self.store.notes(self.folder)))

    def append(self, entry: E) -> None:
        content = canonical_json(entry.model_dump(mode="json"))
        for _ in range(_ATTEMPTS):
            there = self.store.notes(self.folder)
            last = there[-1].rpartition("/")[2].removesuffix(".json") if there else "0"
            if not last.isdigit():
                raise SluiceError(f"{there[-1]}: does not belong in the record", remedy="remove the file")
            if self.store.make(f"{self.folder}/{int(last) + 1:06}.json", content):
                return
        raise SluiceError(
            f"{self.store}/{self.folder}: {_ATTEMPTS} concurrent appends came first", remedy="run it again"
        )

    def _read(self, name: str) -> E:
        try:
            return self.model.model_validate_json(self.store.read(name))
        except ValidationError as error:
            raise SluiceError(
                f"{self.store}/{name}: not an entry of the record: {error.errors()[0]['msg']}",
                remedy="entries never change: restore the original file, or delete it if it is empty",
            ) from None


PLACE = "SLUICE_ARTEFACTS"
HERE = "here"  # this machine
PRODUCTION = "production"

What = Literal["promoting", "promoted", "rolling-back", "rolled-back", "abandoned", "rejected", "unknown"]
# An intent, and what closes it.
CLOSED_BY: Mapping[str, What] = {"promoting": "promoted", "rolling-back": "rolled-back"}
# Kept apart, so that a role that builds can add these without the right to say what is live.
NOT_LIVE: tuple[What, ...] = ("rejected", "unknown")
REFUSED = "refused"
_FOLDER, _REFUSED_FOLDER = "record", f"record/{REFUSED}"


class RecordEvent(Settings):
    """`promoting` and `rolling-back` are intents; `promoted`, `rolled-back` and `abandoned` close them. `unknown`: its
    run was lost. `by`, `run`: who did it, and the page of the run on GitHub."""

    event: What
    id: ReleaseId
    time: str
    commit: str = ""
    reason: str = ""
    by: str = ""
    run: str = ""


@dataclass(frozen=True)
class EnvironmentRecord:
    """The events of one environment. `origin`: the fields `by` and `run` of new ones."""

    store: ArtifactStore
    environment: str
    origin: Mapping[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> bool:
        return self.environment != HERE

    @property
    def alias(self) -> str:
        """The alias in MLflow that follows this record's champion."""
        return "champion" if self.environment in (HERE, PRODUCTION) else self.environment

    def newest(self) -> Iterator[RecordEvent]:
        both = (self._log(_FOLDER), self._log(_REFUSED_FOLDER))
        return heapq.merge(*(log.newest() for log in both), key=lambda event: event.time, reverse=True)

    def history(self) -> list[RecordEvent]:
        return [*self.newest()][::-1]

    def append(self, what: What, release: str, *, commit: str = "", reason: str = "") -> None:
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        fields = {"event": what, "id": release, "time": now, "commit": commit, "reason": reason, **self.origin}
        self._log(_REFUSED_FOLDER if what in NOT_LIVE else _FOLDER).append(RecordEvent.model_validate(fields))

    def champion(self) -> RecordEvent | None:
        """Return the event that made the live release live."""
        return next((event for event in self.newest() if event.event in CLOSED_BY.values()), None)

    def pending(self) -> RecordEvent | None:
        """Return the intent that was neither completed nor abandoned."""
        last = next((event for event in self.newest() if event.event not in NOT_LIVE), None)
        return last if last and last.event in CLOSED_BY else None

    def was_live(self, release: str) -> bool:
        return any(event.id == release and event.event in CLOSED_BY.values() for event in self.newest())

    def decided(self) -> RecordEvent | None:
        """Return the last event that decided if a commit is live."""
        return next((event for event in self.newest() if event.event not in (*CLOSED_BY, "unknown")), None)

    def unknown(self) -> RecordEvent | None:
        """Return the release whose outcome isn't known, if nothing was recorded after it."""
        last = next(self.newest(), None)
        return last if last and last.event == "unknown" else None

    def require_not_gone_back(self, release: str, since: str) -> None:
        """Raise GateFailed after a rollback since then: a repeated run must not undo that."""
        for event in self.newest():
            if event.event == "rolled-back" and event.id != release and event.time > since:
                raise GateFailed(
                    f"{release}: {self.environment} was rolled back to {event.id} after it was made",
                    remedy="push a new commit; it is compared with the live release",
                )

    def previous(self) -> str:
        """Return the release that was live before the champion.

        Rolled-back releases are skipped: after A, B, rollback to A, there is no previous release."""
        live: list[str] = []
        for event in self.history():
            if event.event == "rolled-back" and event.id in live:
                del live[live.index(event.id) + 1 :]
            elif event.event in CLOSED_BY.values() and event.id not in live[-1:]:
                live.append(event.id)
        if len(live) < 2:
            raise SluiceError(
                f"{self.environment}: nothing was live before {live[0] if live else 'now'}",
                remedy="`sluice release list` shows the record; name a release",
            )
        return live[-2]

    def _log(self, folder: str) -> AppendLog[RecordEvent]:
        return AppendLog(self.store, f"{folder}/{self.environment}", RecordEvent)


def here(workspace: Workspace) -> EnvironmentRecord:
    return EnvironmentRecord(open_artifact_store(str(workspace.state)), HERE)


def open_record(workspace: Workspace, environment: str, variables: Mapping[str, str]) -> EnvironmentRecord:
    """Open the record of an environment in the shared artifact store; without a name, that of this machine."""
    if not environment:
        return here(workspace)
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", environment) or environment in (HERE, REFUSED, "releases"):
        raise SluiceError(f"{environment}: not the name of an environment", remedy="such as staging or production")
    run = ""
    if number := variables.get("GITHUB_RUN_ID"):
        run = f"{variables.get('GITHUB_SERVER_URL', '')}/{variables.get('GITHUB_REPOSITORY', '')}/actions/runs/{number}"
    origin = {"by": variables.get("GITHUB_ACTOR") or variables.get("USER", ""), "run": run}
    return EnvironmentRecord(shared_artifact_store(variables), environment, origin)


def shared_address(variables: Mapping[str, str]) -> str:
    """Return the address of the shared artifact store: SLUICE_ARTEFACTS, on GitHub by default `github`."""
    if given := variables.get(PLACE):
        return given
    return "github" if variables.get("GITHUB_ACTIONS") == "true" and hooks("artifact_store") else ""


def shared_artifact_store(variables: Mapping[str, str]) -> ArtifactStore:
    if named := shared_address(variables):
        return open_artifact_store(named)
    remedy = "name what machines share: s3://bucket/prefix, a folder, or with the extra `registry` github"
    raise SluiceError(f"{PLACE} is not set", remedy=remedy)
