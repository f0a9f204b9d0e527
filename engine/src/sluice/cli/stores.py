"""`sluice index ...`: what looks after a store and all that is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import print_json
from sluice.cli.index import (
    Collection,
    OfTenants,
    StoreEnv,
    StoreName,
    StoreTenant,
    Wait,
    collection_of,
    group,
    names_of_stores,
    open_chosen,
)
from sluice.core.workspace import Workspace


@group.command("list")
def index_list(store: StoreName = "", env: StoreEnv = "", tenant: StoreTenant = "") -> None:
    """The collections of a store, and what each is needed for."""
    from sluice.extras.admin.inspect import listed

    with open_chosen(Workspace.find(), store, env, tenant) as connection:
        for each in listed(connection):
            size = f"{each.chunks} chunks" if each.chunks is not None else f"{each.rows} chunks, of older code"
            print(f"{each.collection}: {size}; {'; '.join(each.needed) or 'needed by nothing that is known'}")


@group.command("stats")
def index_stats(store: StoreName = "", env: StoreEnv = "", tenant: StoreTenant = "") -> None:
    """What a store and its collections take, as JSON."""
    from sluice.extras.admin.inspect import stats

    with open_chosen(Workspace.find(), store, env, tenant) as connection:
        print_json(stats(connection).as_dict())


@group.command("migrate")
def index_migrate(
    to: Annotated[str, typer.Option(help="Revision; `base` is before the first one.")] = "head",
    wait: Wait = 0,
    store: StoreName = "",
    env: StoreEnv = "",
    tenant: StoreTenant = "",
    tenants: OfTenants = False,
) -> None:
    """Bring the store's schema up to date, all of it or nothing; what is live goes on meanwhile.

    Down (`--to` an older revision) forgets which release was loaded with what."""
    from sluice.retrieval.schema import migrate

    workspace = Workspace.find()
    for name in names_of_stores(workspace, store, env, tenant, tenants=tenants):
        with open_chosen(workspace, name, "", "", wait=wait, autocommit=False) as connection:
            done = migrate(connection, to=to)
        for step in done.steps:
            print(step)
        where = f"store {name}: " if tenants else ""
        print(f"{where}schema {done.after or 'empty'}" + ("" if done.steps else ": nothing to do"))


@group.command("switch")
def index_switch(
    collection: Collection = "",
    name: Annotated[str, typer.Option(help="What stands for it from now on.")] = "live",
    store: StoreName = "",
    env: StoreEnv = "",
    tenant: StoreTenant = "",
) -> None:
    """Let a name stand for another collection, at once for all who follow the name. The one before stays.

    A release needs no name: it always searches the collection that it was made with."""
    from sluice.retrieval.loads import switch

    workspace = Workspace.find()
    chosen = collection or collection_of(workspace)
    with open_chosen(workspace, store, env, tenant) as connection:
        before = switch(connection, name, chosen)
    print(f"{name}: {chosen}" + (f", before {before}" if before not in (None, chosen) else ""))


@group.command("prune")
def index_prune(
    keep: Annotated[list[str], typer.Option(help="Id of a release that may be served again; once for each.")],
    store: StoreName = "",
    env: StoreEnv = "",
    tenant: StoreTenant = "",
) -> None:
    """Drop collections that were loaded for other releases only. One that a service searches stays."""
    from sluice.retrieval.loads import prune

    with open_chosen(Workspace.find(), store, env, tenant) as connection:
        done = prune(connection, keep)
    for name in done.dropped:
        print(f"{name}: dropped")
    for name in done.held:
        print(f"{name}: stays, a service searches it or another is built on it")
    for name in done.unrecorded:
        print(f"{name}: stays, it was not loaded by `sluice index load`")
    print(f"{len(done.dropped)} dropped")


@group.command("drop")
def index_drop(collection: str, store: StoreName = "", env: StoreEnv = "", tenant: StoreTenant = "") -> None:
    """Drop a collection. One that a release, a name, another collection or a service needs stays."""
    from sluice.retrieval.loads import drop_one

    with open_chosen(Workspace.find(), store, env, tenant) as connection:
        drop_one(connection, collection)
    print(f"{collection}: dropped")


@group.command("drop-tenant")
def index_drop_tenant(
    name: Annotated[str, typer.Argument(help="Whose partitions go, of every collection.")],
    store: StoreName = "",
    env: StoreEnv = "",
) -> None:
    """Drop a tenant's documents from a store that is cut by tenant; all others stay as they are, and searches go on.

    A release that was made with them and is loaded anew brings them again: take them out of the corpus first."""
    from sluice.extras.admin.tenants import drop_tenant

    with open_chosen(Workspace.find(), store, env, "") as connection:
        dropped = drop_tenant(connection, name)
    for collection, chunks in dropped.items():
        print(f"{collection}: {chunks} chunks dropped")


@group.command("backup")
def index_backup(
    out: Annotated[Path, typer.Argument(help="Folder to create.")],
    store: StoreName = "",
    env: StoreEnv = "",
    tenant: StoreTenant = "",
) -> None:
    """Write a store's collections, names and record of releases to files; searches go on meanwhile."""
    from sluice.extras.admin.backups import back_up

    with open_chosen(Workspace.find(), store, env, tenant) as connection:
        done = back_up(connection, out)
    for collection in done.left_out:
        print(f"{collection}: left out, it was loaded by older code")
    print(f"{out}: {len(done.collections)} collections, {len(done.names)} names, {len(done.releases)} releases")


@group.command("restore")
def index_restore(
    folder: Annotated[Path, typer.Argument(help="Of `sluice index backup`.")],
    store: StoreName = "",
    env: StoreEnv = "",
    tenant: StoreTenant = "",
) -> None:
    """Load from a backup what the store does not have; what is there stays as it is."""
    from sluice.extras.admin.backups import restore

    with open_chosen(Workspace.find(), store, env, tenant) as connection:
        done = restore(connection, folder)
    print(f"{len(done.loaded)} collections loaded, {len(done.there)} were there, {len(done.names)} names set")
