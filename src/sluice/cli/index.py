"""`sluice index ...`"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.cli.common import find_release
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    import psycopg

group = typer.Typer(no_args_is_help=True, help="Build the search index, and keep the store of config/stores.yaml.")
Wait = Annotated[float, typer.Option(help="Seconds to wait for a store that is just starting.")]


@group.command("build")
def index_build() -> None:
    """Build build/index from data/corpus and load its collection (pipeline stage)."""
    from sluice.retrieval.stage import run

    info = run(Workspace.find())
    print(f"{info.collection}: {info.documents} documents, {info.chunks} chunks")


@group.command("migrate")
def index_migrate(
    to: Annotated[str, typer.Option(help="Revision; `base` is before the first one.")] = "head", wait: Wait = 0
) -> None:
    """Bring the store's schema up to date, all of it or nothing; what is live goes on meanwhile.

    Down (`--to` an older revision) forgets which release was loaded with what."""
    from sluice.retrieval.schema import migrate

    with _store(Workspace.find(), wait=wait, autocommit=False) as connection:
        done = migrate(connection, to=to)
    for step in done.steps:
        print(step)
    print(f"schema {done.after or 'empty'}" + ("" if done.steps else ": nothing to do"))


@group.command("load")
def index_load(
    release: Annotated[str, typer.Argument(help="Release id or folder; default: the champion.")] = "", wait: Wait = 0
) -> None:
    """Load a release's index into the store, beside the collections that are there."""
    from sluice.release.manifest import load, verify
    from sluice.retrieval.loads import load as load_index

    workspace = Workspace.find()
    folder = Path(release) if release and Path(release).is_dir() else find_release(workspace, release)[1]
    manifest = load(folder)
    verify(folder, manifest, part="index")
    with _store(workspace, wait=wait) as connection:
        info = load_index(connection, folder / "index", manifest.id)
    print(f"{manifest.id}: {info.collection}, {info.chunks} chunks")


@group.command("prune")
def index_prune(
    keep: Annotated[list[str], typer.Option(help="Id of a release that may be served again; once for each.")],
) -> None:
    """Drop collections that were loaded for other releases only. One that a service searches stays."""
    from sluice.retrieval.loads import prune

    with _store(Workspace.find()) as connection:
        done = prune(connection, keep)
    for name in done.dropped:
        print(f"{name}: dropped")
    for name in done.held:
        print(f"{name}: stays, a service searches it")
    for name in done.unrecorded:
        print(f"{name}: stays, it was not loaded by `sluice index load`")
    print(f"{len(done.dropped)} dropped")


@contextmanager
def _store(workspace: Workspace, *, wait: float = 0, autocommit: bool = True) -> Iterator[psycopg.Connection[Any]]:
    from sluice.core.settings import load_settings
    from sluice.retrieval.connections import connected
    from sluice.retrieval.stores import Stores, open_store

    stores = load_settings(workspace.config / "stores.yaml", Stores)
    with (
        open_store(stores.chosen, workspace.state) as address,
        connected(stores, address, wait=wait, autocommit=autocommit) as connection,
    ):
        yield connection
