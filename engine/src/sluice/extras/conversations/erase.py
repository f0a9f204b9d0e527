"""Erases what a person has left: conversations, and by the traces of their answers feedback, traces and MLflow; cached
responses by their texts. The rows that lead to all of it go last, so that a run that was cut off can be repeated."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.core.atomic_files import write_atomic
from sluice.core.settings import load_settings
from sluice.core.tracking import store_uri, tracking_faults, tracking_uri
from sluice.extras.conversations.settings import ConversationSettings
from sluice.extras.conversations.store import delete_expired, delete_where, texts_of
from sluice.retrieval.postgres_connections import connected
from sluice.retrieval.store_schema import open_tables
from sluice.retrieval.stores import open_store
from sluice.serving.telemetry.settings import TelemetrySettings
from sluice.serving.telemetry.spool import locked

if TYPE_CHECKING:
    import psycopg

    from sluice.core.workspace import Workspace
    from sluice.retrieval.stores import Stores

_OF_PERSON = "tenant = %s AND person = %s AND (%s = '' OR key = %s)"
_BATCH = 100  # traces that MLflow deletes at once
_SHORTEST = 12  # characters: a text that many could have written names nobody in the cache
_MANY = 1_000_000
_HELD = ("sluice_conversations", "sluice_answers", "checkpoints", "checkpoint_blobs", "checkpoint_writes")


@dataclass
class Erasure:
    """How many of each went. `not_reached`: where more may lie that this command cannot delete."""

    people: int = 0
    conversations: int = 0
    expired: int = 0
    feedback: int = 0
    spans: int = 0
    mlflow: int = 0
    cached: int = 0
    not_reached: list[str] = field(default_factory=list)


def erase(workspace: Workspace, stores: Stores, person: str, *, tenant: str, key: str, rewrite: bool) -> Erasure:
    """Erases one person.

    Args:
        workspace: the checkout.
        stores: config/stores.yaml.
        person: as `x-sluice-person` names it.
        tenant: of the key; empty: none.
        key: name of the key; empty: every key of the tenant.
        rewrite: writes the tables anew, so that deleted rows are in no file of theirs; it locks them meanwhile.

    Returns:
        What was erased, and what could not be reached.

    Raises:
        SluiceError: a store cannot be used; then the run can be repeated.
    """
    with _Eraser(workspace, stores) as eraser:
        eraser.person(tenant, person, key)
        return eraser.finish(rewrite=rewrite)


def sweep(workspace: Workspace, stores: Stores) -> Erasure:
    """Deletes what is older than config/conversations.yaml keeps, and erases everybody whose erasure was asked for.

    Args:
        workspace: the checkout.
        stores: config/stores.yaml.
    """
    settings = load_settings(workspace.config / "conversations.yaml", ConversationSettings)
    with _Eraser(workspace, stores) as eraser:
        for tenant, key, person in eraser.connection.execute(
            "SELECT tenant, key, person FROM sluice_erasures"
        ).fetchall():
            eraser.person(tenant, person, key)
            eraser.done.not_reached = ["cached responses with texts that the service has deleted already"]
        eraser.done.expired = delete_expired(eraser.connection, settings.retention_days, _MANY)
        old = "DELETE FROM sluice_answers WHERE made < now() - make_interval(days => %s)"
        eraser.connection.execute(old, (settings.linked_days,))
        return eraser.finish()


class _Eraser:
    """The places of one checkout."""

    connection: psycopg.Connection[Any]

    def __init__(self, workspace: Workspace, stores: Stores) -> None:
        self._workspace = workspace
        self._opening = _opened(workspace, stores)
        self._telemetry = load_settings(workspace.config / "telemetry.yaml", TelemetrySettings).traces
        self.done = Erasure()

    def __enter__(self) -> _Eraser:
        self.connection = next(self._opening)
        return self

    def __exit__(self, *_: object) -> None:
        self._opening.close()  # type: ignore[attr-defined]

    def person(self, tenant: str, person: str, key: str) -> None:
        values = (tenant, person, key, key)
        sought = f"SELECT trace FROM sluice_answers WHERE {_OF_PERSON}"
        traces = {str(row[0]) for row in self.connection.execute(sought, values)}
        texts = texts_of(self.connection, _OF_PERSON, values)
        self._files("feedback", lambda line: None if json.loads(line)["trace_id"] in traces else line, "feedback")
        self._files("traces", lambda line: _without(line, traces), "spans")
        self._mlflow(traces)
        self._cached(texts)
        self.done.conversations += len(delete_where(self.connection, _OF_PERSON, values))
        for table in ("sluice_answers", "sluice_erasures"):
            self.connection.execute(f"DELETE FROM {table} WHERE {_OF_PERSON}", values)
        self.done.people += 1

    def finish(self, *, rewrite: bool = False) -> Erasure:
        for table in _HELD:
            self.connection.execute(f"VACUUM {'(FULL) ' if rewrite else ''}{table}")
        others = [name for name in self._telemetry.exporters if name not in ("mlflow", "none")]
        self.done.not_reached += [f"traces that were sent by the exporter {name}" for name in others]
        self.done.not_reached += [
            "files below .sluice/ of other machines: run this command on each",
            "PostgreSQL's write-ahead log and backups, until they are recycled",
            "rows that were taken over from traffic into data/",
        ]
        return self.done

    def _files(self, folder: str, left: Callable[[bytes], bytes | None], counted: str) -> None:
        """Rewrites lines of the files of a folder: as they are left, or without them."""
        place = self._workspace.state / folder
        if not place.is_dir():
            return
        with locked(place):
            for path in sorted(place.glob("*.jsonl")):
                before = path.read_bytes().splitlines(keepends=True)
                after = [kept for line in before if (kept := left(line)) is not None]
                if after != before:
                    changed = sum(old != new for old, new in zip(before, after, strict=False))
                    setattr(self.done, counted, getattr(self.done, counted) + max(changed, len(before) - len(after)))
                    write_atomic(path, b"".join(after), mode=0o600)

    def _mlflow(self, traces: Collection[str]) -> None:
        if not traces or "mlflow" not in self._telemetry.exporters:
            return
        uri = self._telemetry.mlflow.tracking_uri or tracking_uri(self._workspace)
        here = Path(store_uri(self._workspace).removeprefix("sqlite:///"))
        local = uri == store_uri(self._workspace)
        if local and not here.exists():
            return
        import mlflow

        client = mlflow.MlflowClient(tracking_uri=uri)
        with tracking_faults(uri):
            experiment = client.get_experiment_by_name(self._telemetry.mlflow.experiment)
            names = sorted(f"tr-{trace}" for trace in traces)
            for start in range(0, len(names) if experiment else 0, _BATCH):
                batch = names[start : start + _BATCH]
                self.done.mlflow += client.delete_traces(experiment.experiment_id, trace_ids=batch)
        if local:
            with closing(sqlite3.connect(here)) as database:
                database.execute("VACUUM")  # else deleted rows stay in free pages of the file

    def _cached(self, texts: Collection[str]) -> None:
        """Responses that hold a text of the person word by word."""
        sought = {json.dumps(text, ensure_ascii=False)[1:-1].encode() for text in texts if len(text) >= _SHORTEST}
        for path in self._workspace.state.glob("responses/*/*.json") if sought else ():
            content = path.read_bytes()
            if any(text in content for text in sought):
                path.unlink()
                self.done.cached += 1


def _opened(workspace: Workspace, stores: Stores) -> Iterator[psycopg.Connection[Any]]:
    with (
        open_tables(stores, workspace.state, "conversations", lambda _: None),
        open_store(stores.chosen, workspace.state) as address,
        connected(stores, address) as connection,
    ):
        yield connection


def _without(line: bytes, traces: Collection[str]) -> bytes | None:
    """A line of OTLP's JSON without spans of these traces; None where no span is left."""
    document = json.loads(line)
    scopes = [scope for resource in document["resourceSpans"] for scope in resource["scopeSpans"]]
    found = [span for scope in scopes for span in scope["spans"] if span["traceId"] in traces]
    if not found:
        return line
    for scope in scopes:
        scope["spans"] = [span for span in scope["spans"] if span["traceId"] not in traces]
    return json.dumps(document).encode() + b"\n" if any(scope["spans"] for scope in scopes) else None
