"""Commands that administer vector stores, the model cache and the artifact store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.common import print_json
from sluice.cli.index_build import StoreEnv, StoreName, StoreTenant, chosen_stores, open_chosen
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.llm.model_files import Models

Collection = Annotated[str, typer.Argument(help="Name of the collection; default: the one of build/index.")]


def index_verify(
    collection: Collection = "",
    store: StoreName = "",
    env: StoreEnv = "",
    tenant: StoreTenant = "",
    questions: Annotated[int, typer.Option(help="Number of questions to search and scan for.", min=1)] = 100,
) -> None:
    """Compare a collection with its index, and its search with an exact scan.

    Compares counts and digests; searches with the store's settings. Fails on any fault, and if recall@10 is below the
    threshold in config/gates.yaml."""
    from sluice.core.errors import ValidationErrors
    from sluice.extras.admin.collections import require_collection
    from sluice.extras.admin.verify_collection import verify
    from sluice.release.gates import Measurement, decide, load_gates, require
    from sluice.retrieval.index_files import read_index

    workspace = Workspace.find()
    gates = load_gates(workspace.config / "gates.yaml")
    name = collection or read_index(workspace.build / "index")[0].collection
    with open_chosen(workspace, store, env, tenant) as connection:
        require_collection(connection, name)
        vectors = chosen_stores(workspace, store, env, tenant).chosen.vectors
        found = verify(connection, name, questions=questions, vectors=vectors)
    print(f"{name}: {found.chunks} chunks; recall@10 {found.recall:.3f} of {found.questions} questions")
    if found.faults:
        raise ValidationErrors(name, list(found.faults), remedy="drop it and load it again")
    require(decide(gates, "index", {"index_recall_at_10": Measurement(found.recall, found.questions)}, None))


def index_list(store: StoreName = "", env: StoreEnv = "", tenant: StoreTenant = "") -> None:
    """List the collections of a store and what needs each."""
    from sluice.extras.admin.collections import listed

    with open_chosen(Workspace.find(), store, env, tenant) as connection:
        for each in listed(connection):
            size = f"{each.chunks} chunks" if each.chunks is not None else f"{each.rows} chunks, of older code"
            print(f"{each.collection}: {size}; {'; '.join(each.needed) or 'needed by nothing that is known'}")


def index_stats(store: StoreName = "", env: StoreEnv = "", tenant: StoreTenant = "") -> None:
    """Print the size of a store and its collections as JSON."""
    from sluice.extras.admin.collections import stats

    with open_chosen(Workspace.find(), store, env, tenant) as connection:
        print_json(stats(connection))


def index_prune(
    keep: Annotated[list[str], typer.Option(help="Id of a release that may be served again; repeatable.")],
    store: StoreName = "",
    env: StoreEnv = "",
    tenant: StoreTenant = "",
) -> None:
    """Drop collections loaded only for other releases, unless a service searches them."""
    from sluice.extras.admin.collections import DROPPED, prune

    with open_chosen(Workspace.find(), store, env, tenant) as connection:
        done = prune(connection, keep)
    for name, said in done.items():
        print(f"{name}: {said}")
    print(f"{[*done.values()].count(DROPPED)} dropped")


def index_drop(collection: str, store: StoreName = "", env: StoreEnv = "", tenant: StoreTenant = "") -> None:
    """Drop a collection, unless a release or a service needs it."""
    from sluice.extras.admin.collections import drop_one

    with open_chosen(Workspace.find(), store, env, tenant) as connection:
        drop_one(connection, collection)
    print(f"{collection}: dropped")


def models_prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted; delete nothing.")] = False,
) -> None:
    """Delete cached models that neither this checkout nor one of its releases names.

    Other checkouts of this user share the cache; they fetch missing models again."""
    from sluice.llm.model_files import load_models

    workspace = Workspace.find()
    files = [workspace.config / "models.yaml", *sorted(workspace.releases.glob("*/config/models.yaml"))]
    found = unnamed([load_models(file) for file in files], workspace.cache)
    for folder, size in found.items():
        if not dry_run:
            shutil.rmtree(folder)
        print(f"{'would delete' if dry_run else 'deleted'} {folder} ({size / 2**20:.0f} MiB)")
    if not found:
        print("every cached model is named")


def unnamed(named: Iterable[Models], cache: Path) -> dict[Path, int]:
    """Return the folders of cached models that nothing names, with their bytes."""
    pinned = (files for models in named for _, spec in models for files in (spec, spec.weights) if files)
    kept = {path.parent for files in pinned for path in files.cached(cache)}
    unused = [folder for folder in sorted((cache / "models").glob("*/")) if folder not in kept]
    return {folder: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) for folder in unused}


def release_prune(
    keep: Annotated[
        int, typer.Option(min=1, help="Releases to keep: of the newest, and of those once live in each environment.")
    ] = 10,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")] = False,
) -> None:
    """Remove old releases from the shared artifact store, and files that no other release needs.

    Keeps live and formerly live releases (up to --keep per environment), the newest releases, the newest untouched
    model, and everything from the last 24 hours."""
    from sluice.extras.admin.retention import prune
    from sluice.release.environment_record import shared_address, shared_artifact_store

    if os.environ.get("GITHUB_ACTIONS") == "true" and not shared_address(os.environ):
        print("nothing to remove: SLUICE_ARTEFACTS names no artifact store, and the extra registry was left out")
        return
    done = prune(shared_artifact_store(os.environ), Workspace.find(), keep, dry_run=dry_run)
    for name in (*done.releases, *done.names):
        print(f"{'would remove' if dry_run else 'removed'} {name}")
    print(f"{len(done.kept)} releases stay")


def register(_: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    groups["index"].command("list")(index_list)
    groups["index"].command("stats")(index_stats)
    groups["index"].command("prune")(index_prune)
    groups["index"].command("drop")(index_drop)
    groups["index"].command("verify")(index_verify)
    groups["models"].command("prune")(models_prune)
    groups["release"].command("prune")(release_prune)
