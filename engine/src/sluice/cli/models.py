"""`sluice models ...`"""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.core.errors import ValidationErrors
from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Models: fetch, verify.")


@group.command("list")
def models_list() -> None:
    """The models of config/models.yaml: licence, size in the cache, sha256 and source."""
    from sluice.llm.model_cache import list_models
    from sluice.llm.model_files import load_models

    workspace = Workspace.find()
    for model in list_models(load_models(workspace.config / "models.yaml"), workspace.cache):
        size = f"{model.bytes / 2**20:.0f} MiB" if model.bytes else "not fetched"
        print(f"{model.role}: {model.name} ({model.licence}), {size}, sha256 {model.sha256[:16]}…, {model.source}")


@group.command("pull")
def models_pull() -> None:
    """Fetch every model of config/models.yaml into the cache and check its sha256."""
    from sluice.llm.model_files import ensure, ensure_source, load_models

    workspace = Workspace.find()
    for role, spec in load_models(workspace.config / "models.yaml"):
        print(f"{role}: {spec.name} ({spec.licence}) {ensure(spec, workspace.cache)}")
        if spec.weights:
            print(f"{role}.weights: {ensure_source(spec.weights, workspace.cache)}")


@group.command("verify")
def models_verify() -> None:
    """Check the sha256 of every cached file that config/models.yaml pins; every fault at once."""
    from sluice.llm.model_cache import faults_of
    from sluice.llm.model_files import load_models

    workspace = Workspace.find()
    models = load_models(workspace.config / "models.yaml")
    if faults := faults_of(models, workspace.cache):
        raise ValidationErrors(
            str(workspace.cache), faults, remedy="delete what is wrong and fetch it again: `sluice models pull`"
        )
    print("every file of every model is as config/models.yaml pins it")


@group.command("prune")
def models_prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
) -> None:
    """Delete cached models that neither this checkout nor one of its releases names.

    Other checkouts of this user share the cache; they fetch again what they miss.
    """
    from sluice.llm.model_cache import remove, unnamed
    from sluice.llm.model_files import load_models

    workspace = Workspace.find()
    files = [workspace.config / "models.yaml", *sorted(workspace.releases.glob("*/config/models.yaml"))]
    found = unnamed([load_models(file) for file in files], workspace.cache)
    if not dry_run:
        remove(found)
    for folder, size in found.items():
        print(f"{'would delete' if dry_run else 'deleted'} {folder} ({size / 2**20:.0f} MiB)")
    if not found:
        print("every cached model is named")
