"""`sluice index ...`: collections built, loaded, compared. What looks after a store is in stores.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.cli.common import Where, find_release
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    import psycopg

group = typer.Typer(no_args_is_help=True, help="Build the search index, and keep the stores of config/stores.yaml.")
Wait = Annotated[float, typer.Option(help="Seconds to wait for a store that is just starting.")]
StoreName = Annotated[str, typer.Option("--store", help="Store of config/stores.yaml; default: its default.")]
StoreEnv = Annotated[str, typer.Option("--env", help="The store of this environment.")]
StoreTenant = Annotated[str, typer.Option("--tenant", help="The store of this tenant.")]
OfTenants = Annotated[bool, typer.Option("--tenants", help="Also in every store that is a tenant's own.")]
Collection = Annotated[str, typer.Argument(help="Name of a collection; default: that of build/index.")]


@group.command("build")
def index_build(
    store: StoreName = "",
    env: StoreEnv = "",
    tenant: StoreTenant = "",
    on: Annotated[
        Where, typer.Option(help="This machine, or those of a job of SageMaker (config/sagemaker.yaml).")
    ] = Where.HERE,
    workers: Annotated[
        int, typer.Option(help="SageMaker: machines that share the corpus; 0: as many as its settings say.", min=0)
    ] = 0,
    watch: Annotated[
        bool, typer.Option("--watch", help="SageMaker: follow the job, started now or before, and load its result.")
    ] = False,
    shard: Annotated[str, typer.Option(help="K/N: embed this share of the documents into --out, and no more.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the vectors of a shard.")] = None,
    shards: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Folder with vectors of shards, taken instead of embedding; once for each."),
    ] = None,
) -> None:
    """Build build/index from data/corpus and load its collection (pipeline stage).

    Only chunks that this machine has not embedded before are embedded. With --tenant: of that tenant's documents and
    those for everybody, as build/index-TENANT. On SageMaker each machine embeds its share; a job is known by what goes
    into it: the same command picks up one that was started before, and pays for none twice."""
    from sluice.core.errors import SluiceError
    from sluice.retrieval.sharding import Shard
    from sluice.retrieval.stage import run, run_shard

    workspace = Workspace.find()
    if bool(shard) != (out is not None) or (shard and (shards or store or env or tenant)):
        raise SluiceError(
            "--shard and --out go together, and with no other option",
            remedy="embed with `--shard K/N --out FOLDER` for every K, then build with `--from FOLDER`",
        )
    if on is Where.SAGEMAKER:
        if shard or shards:
            raise typer.BadParameter("--shard and --from are for machines of one's own; a job of SageMaker has its own")
        from sluice.extras.sagemaker import embedding

        built = embedding.build(workspace, workers=workers, follow=watch, store=store, env=env, tenant=tenant)
        if built is None:
            return
    elif watch or workers:
        raise typer.BadParameter("--watch and --workers are for --on sagemaker")
    elif out is not None:
        found = run_shard(workspace, Shard.parse(shard), out)
        print(f"{out}: shard {shard}, vectors of {found} chunks")
        return
    else:
        built = run(workspace, store=store, env=env, tenant=tenant, shards=shards or ())
    info = built.info
    print(f"{info.collection}: {info.documents} documents, {info.chunks} chunks, {built.embedded} embedded")


@group.command("load")
def index_load(
    release: Annotated[str, typer.Argument(help="Release id or folder; default: the champion.")] = "",
    wait: Wait = 0,
    store: StoreName = "",
    env: StoreEnv = "",
    tenant: StoreTenant = "",
    tenants: OfTenants = False,
) -> None:
    """Load a release's index into the store, beside the collections that are there."""
    from sluice.release.manifest import load, verify
    from sluice.retrieval.loads import load as load_index

    workspace = Workspace.find()
    folder = Path(release) if release and Path(release).is_dir() else find_release(workspace, release)[1]
    manifest = load(folder)
    verify(folder, manifest, part="index")
    for name in names_of_stores(workspace, store, env, tenant, tenants=tenants):
        spec = chosen_stores(workspace, name, "", "").chosen
        with open_chosen(workspace, name, "", "", wait=wait) as connection:
            info = load_index(connection, folder / "index", manifest.id, spec.vectors, spec.partition_by)
        print(f"{manifest.id}: {info.collection}, {info.chunks} chunks" + (f", store {name}" if tenants else ""))


@group.command("verify")
def index_verify(
    collection: Collection = "",
    store: StoreName = "",
    env: StoreEnv = "",
    tenant: StoreTenant = "",
    questions: Annotated[int, typer.Option(help="How many to search and to scan for.", min=1)] = 100,
) -> None:
    """Compare a collection with what its index says (counts, digests), and its search with an exact scan.

    Fails on any fault, and when recall@10 is below what config/gates.yaml asks for."""
    from sluice.core.errors import Faults
    from sluice.extras.admin.verify import verify
    from sluice.release.gates import Figure, decide, load_gates, require
    from sluice.retrieval.loads import require_collection

    workspace = Workspace.find()
    gates = load_gates(workspace.config / "gates.yaml")
    name = collection or collection_of(workspace)
    with open_chosen(workspace, store, env, tenant) as connection:
        require_collection(connection, name)
        found = verify(connection, name, questions=questions)
    print(f"{name}: {found.chunks} chunks; recall@10 {found.recall:.3f} of {found.questions} questions")
    if found.faults:
        raise Faults(name, list(found.faults), remedy="drop it and load it again")
    require(decide(gates, "index", {"index_recall_at_10": Figure(found.recall, found.questions)}, None))


@group.command("tune")
def index_tune(
    collection: Collection = "",
    store: StoreName = "",
    env: StoreEnv = "",
    tenant: StoreTenant = "",
    recall: Annotated[float, typer.Option(help="recall@10 against an exact scan.", min=0.1, max=1)] = 0.99,
    questions: Annotated[
        int, typer.Option(help="How many are asked, beside the collection's own vectors.", min=1)
    ] = 200,
    write: Annotated[bool, typer.Option("--write", help="Set it in config/stores.yaml.")] = False,
) -> None:
    """Find the smallest ef_search with which a collection's vector index has the recall asked for.

    Fails when none has: then the vector index needs a larger ef_construction."""
    from sluice.core.params import set_value
    from sluice.extras.admin.tuning import tune
    from sluice.retrieval.loads import require_collection
    from sluice.retrieval.stores import Stores

    workspace = Workspace.find()
    name = collection or collection_of(workspace)
    stores = chosen_stores(workspace, store, env, tenant)
    with open_chosen(workspace, store, env, tenant) as connection:
        require_collection(connection, name)
        oversampling = stores.chosen.vectors.oversampling
        found = tune(connection, name, target=recall, questions=questions, oversampling=oversampling)
    print(found.table())
    chosen = found.chosen()
    print(f"{name}: ef_search {chosen} reaches {recall:g} with {found.questions} questions")
    if write:
        keys = ("stores", stores.default, "vectors", "ef_search")
        set_value(workspace.config / "stores.yaml", keys, chosen, Stores)
        print(f"config/stores.yaml: {'.'.join(keys)} = {chosen}, for what is opened from now on")
    elif chosen == (now := stores.chosen.vectors.ef_search):
        print(f"config/stores.yaml has it already for store {stores.default}")
    else:
        print(f"config/stores.yaml has {now} for store {stores.default}; --write sets it")


def collection_of(workspace: Workspace) -> str:
    """The collection of build/index."""
    from sluice.retrieval.index import read_index

    return read_index(workspace.build / "index")[0].collection


def chosen_stores(workspace: Workspace, store: str, env: str, tenant: str) -> Any:
    from sluice.core.settings import load_settings
    from sluice.retrieval.stores import Stores

    stores = load_settings(workspace.config / "stores.yaml", Stores)
    return stores.using(store=store, env=env, tenant=tenant)


def names_of_stores(workspace: Workspace, store: str, env: str, tenant: str, *, tenants: bool) -> list[str]:
    """The chosen store, and with `tenants` those that are a tenant's own."""
    stores = chosen_stores(workspace, store, env, tenant)
    return list(dict.fromkeys([stores.default, *(sorted(stores.tenants.values()) if tenants else ())]))


@contextmanager
def open_chosen(
    workspace: Workspace, store: str, env: str, tenant: str, *, wait: float = 0, autocommit: bool = True
) -> Iterator[psycopg.Connection[Any]]:
    from sluice.retrieval.connections import connected
    from sluice.retrieval.stores import open_store

    stores = chosen_stores(workspace, store, env, tenant)
    with (
        open_store(stores.chosen, workspace.state) as address,
        connected(stores, address, wait=wait, autocommit=autocommit) as connection,
    ):
        yield connection
