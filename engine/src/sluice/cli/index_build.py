"""The `sluice index` commands that build and load collections."""

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

    from sluice.retrieval.stores import Stores

group = typer.Typer(no_args_is_help=True, help="Build the search index and load it into stores.")
Wait = Annotated[float, typer.Option(help="Seconds to wait for a store that is still starting.")]
StoreName = Annotated[str, typer.Option("--store", help="Store in config/stores.yaml; default: its default store.")]
StoreEnv = Annotated[str, typer.Option("--env", help="Use the store of this environment.")]
StoreTenant = Annotated[str, typer.Option("--tenant", help="Use the store of this tenant.")]
OfTenants = Annotated[bool, typer.Option("--tenants", help="Also use every tenant's own store.")]


@group.command("build")
def index_build(store: StoreName = "", env: StoreEnv = "", tenant: StoreTenant = "") -> None:
    """Build build/index from data/corpus and load its collection (pipeline stage).

    Embeds only chunks that this machine hasn't embedded before. With --tenant, builds build/index-TENANT from that
    tenant's documents and the shared ones."""
    from sluice.retrieval.index_stage import run

    info, embedded = run(Workspace.find(), store=store, env=env, tenant=tenant)
    print(f"{info.collection}: {info.documents} documents, {info.chunks} chunks, {embedded} embedded")


@group.command("load")
def index_load(
    release: Annotated[str, typer.Argument(help="Release id or folder; default: the champion.")] = "",
    wait: Wait = 0,
    store: StoreName = "",
    env: StoreEnv = "",
    tenant: StoreTenant = "",
    tenants: OfTenants = False,
) -> None:
    """Load a release's index into the store; existing collections stay."""
    from sluice.release.manifest import load, verify
    from sluice.retrieval.postgres_collections import load_release

    workspace = Workspace.find()
    folder = Path(release) if release and Path(release).is_dir() else find_release(workspace, release)[1]
    manifest = load(folder)
    verify(folder, manifest, part="index")
    for name in names_of_stores(workspace, store, env, tenant, tenants=tenants):
        vectors = chosen_stores(workspace, name).chosen.vectors
        with open_chosen(workspace, name, wait=wait) as connection:
            info = load_release(connection, folder / "index", manifest.id, vectors)
        print(f"{manifest.id}: {info.collection}, {info.chunks} chunks" + (f", store {name}" if tenants else ""))


def chosen_stores(workspace: Workspace, store: str = "", env: str = "", tenant: str = "") -> Stores:
    """Return config/stores.yaml, with the store that the options of a command choose as the default."""
    from sluice.core.settings import load_settings
    from sluice.retrieval.stores import Stores

    stores = load_settings(workspace.config / "stores.yaml", Stores)
    return stores.using(store=store, env=env, tenant=tenant)


def names_of_stores(workspace: Workspace, store: str, env: str, tenant: str, *, tenants: bool) -> list[str]:
    stores = chosen_stores(workspace, store, env, tenant)
    return list(dict.fromkeys([stores.default, *(sorted(stores.tenants.values()) if tenants else ())]))


@contextmanager
def open_chosen(
    workspace: Workspace, store: str = "", env: str = "", tenant: str = "", *, wait: float = 0
) -> Iterator[psycopg.Connection[Any]]:
    from sluice.retrieval.postgres_connections import connected
    from sluice.retrieval.stores import open_store

    stores = chosen_stores(workspace, store, env, tenant)
    with (
        open_store(stores.chosen, workspace.state) as address,
        connected(stores, address, wait=wait) as connection,
    ):
        yield connection
