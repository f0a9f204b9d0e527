"""The commands that check and write the files of a project."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.common import ImageOption, LoadImageOption, ReleaseOption, RemoteOption, print_json
from sluice.core.atomic_files import write_atomic, write_json
from sluice.core.errors import ValidationErrors
from sluice.core.extras import EXTRAS, extras
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.core.settings import Settings

prompts = typer.Typer(no_args_is_help=True, help="Check, list, compare and test prompts.")
models = typer.Typer(no_args_is_help=True, help="Fetch and verify models.", callback=lambda: None)
gates = typer.Typer(no_args_is_help=True, help="Apply the thresholds of config/gates.yaml.")
params = typer.Typer(no_args_is_help=True, help="Set the parameters of the stages.")
manifests = typer.Typer(no_args_is_help=True, help="Render and check the manifests in k8s/.")
engine = typer.Typer(no_args_is_help=True, help="Manage the engine's files, which projects don't edit.")
code = typer.Typer(no_args_is_help=True, help="Track the code of stages and of the service.", callback=lambda: None)
data = typer.Typer(no_args_is_help=True, help="Check and publish data.")
Overlays = Annotated[list[Path] | None, typer.Argument(help="Kustomization folders; default: every overlay.")]


@prompts.command("check")
def prompts_check() -> None:
    """Check every file in prompts/ and report all faults with file and line."""
    from sluice.llm.settings import PROMPT_ROLES
    from sluice.prompts import load_prompts

    prompts = load_prompts(Workspace.find().prompts, roles=PROMPT_ROLES)
    print(f"{len(prompts)} prompts without a fault: {', '.join(prompts)}")


@models.command("pull")
def models_pull() -> None:
    """Fetch every model in config/models.yaml into the cache and verify its sha256."""
    from sluice.llm.model_files import ensure, ensure_source, load_models

    workspace = Workspace.find()
    for role, spec in load_models(workspace.config / "models.yaml"):
        print(f"{role}: {spec.name} ({spec.licence}) {ensure(spec, workspace.cache)}")
        if spec.weights:
            print(f"{role}.weights: {ensure_source(spec.weights, workspace.cache)}")


@gates.command("sync")
def gates_sync() -> None:
    """Copy the thresholds of config/gates.yaml to k8s/base/analysis-limits.yaml, for the analyses in a cluster."""
    from sluice.rollout.analysis_templates import sync

    workspace = Workspace.find()
    out = workspace.root / "k8s" / "base" / "analysis-limits.yaml"
    changed = sync(workspace.config / "gates.yaml", workspace.engine / "k8s" / "analysis", out)
    print(f"wrote {out.relative_to(workspace.root)}" if changed else "nothing changed")


@params.command("set")
def set_values(
    assignments: Annotated[
        list[str], typer.Argument(help="section.key=value, such as train.steps=144.", envvar="PARAMETERS")
    ],
) -> None:
    """Set values in pipelines/params.yaml, validated as the stages read them; comments stay."""
    from sluice.core.extras import extras, load
    from sluice.core.params import set_params
    from sluice.evaluation.asked_rows import EvaluateParameters
    from sluice.jobs.release_job import RehearsalParameters
    from sluice.retrieval.index_stage import IndexParameters

    models: dict[str, type[Settings]] = {
        "index": IndexParameters,
        "evaluate": EvaluateParameters,
        "rehearsal": RehearsalParameters,
    }
    for name, extra in extras().items():
        models |= {section: load(name, reference) for section, reference in extra.parameters.items()}
    workspace = Workspace.find()
    set_params(workspace.params, assignments, models)
    print(f"{workspace.params.relative_to(workspace.root)}: {', '.join(assignments)}")


@manifests.command("render")
def render_overlay(
    overlay: Annotated[Path, typer.Argument(help="Kustomization folder; with --into, its name is enough.")],
    into: Annotated[Path | None, typer.Option(help="Folder of git for Argo CD or Flux; default: print.")] = None,
    release: ReleaseOption = "",
    image: ImageOption = "",
    load_image: LoadImageOption = "",
    first: Annotated[
        bool | None, typer.Option("--first/--no-first", help="No release is live yet: leave out visitors' routes.")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="It was live before: without analyses.")] = False,
) -> None:
    """Print the manifests of an overlay as a cluster gets them, or write them with a release into a folder."""
    if into:
        from sluice.cli.deployment import render as render_release
        from sluice.cluster.gitops import write_release

        _, manifest, documents = render_release(overlay.name, release, image, load_image, rollback=rollback)
        write_release(into, documents, first=first, rollback=rollback)
        print(f"{into} holds {manifest.id}: commit it, then `sluice deploy --watch --env {overlay.name}`")
        return
    from sluice.cluster.manifests import render

    print(render(overlay), end="")


@manifests.command()
def check(overlays: Overlays = None) -> None:
    """Render and validate overlays; unknown keys, kinds without a schema and images without a digest are errors.

    A digest of zeros is valid: a deployment replaces it with the digest of its release."""
    from sluice.cluster.manifests import parse, render, schema_folders, unpinned, validate

    root = Workspace.find().root
    for overlay in overlays or sorted(path.parent for path in root.glob("k8s/overlays/*/kustomization.yaml")):
        documents = parse(render(overlay))
        validate(documents, *schema_folders(root))
        if loose := unpinned(documents):
            raise ValidationErrors(
                str(overlay), loose, remedy="name each image by digest under `images:` of the overlay"
            )
        print(f"{overlay}: {len(documents)} manifests, no fault")


@manifests.command("schema")
def write_schema(
    definition: Annotated[typer.FileText, typer.Argument(help="A CustomResourceDefinition; - is standard input.")],
) -> None:
    """Write the schema of a kind of your own into k8s/schemas/, so that its manifests are checked."""
    from sluice.cluster.kinds import write_schemas

    for path in write_schemas(Workspace.find().root / "k8s" / "schemas", definition.read()):
        print(f"wrote {path}")


@engine.command("check")
def engine_check() -> None:
    """List edited engine files and what to use instead.

    In the template itself, edits are normal; there, the command updates the lists of the engine's files, and a hook of
    pre-commit fails because they changed."""
    from sluice.core.project import load_project
    from sluice.template.owned import OWNED, edits, list_files, read_list, refused, write_lists

    workspace = Workspace.find()
    project = load_project(workspace.config)
    files = list_files(workspace.root, untracked=project.template is not None)
    if project.template is None:
        changed = write_lists(workspace.root, files)
        written = f"wrote {' and '.join(changed)}; commit that with the edit"
        print(written if changed else "the lists of the engine's files are up to date")
        return
    found = edits(workspace.root, files)
    wrong = refused(found, project.adopted, read_list(workspace.root, OWNED))
    if wrong:
        raise ValidationErrors(
            "files of the engine were edited",
            [str(edit) for edit in wrong],
            remedy="`git checkout` brings a file back; an upgrade would replace it",
        )
    for edit in found:
        print(f"{edit.path}: {edit.kind}; this project has adopted it")
    print("no file of the engine was edited")


@code.command("digest")
def code_digest(
    out: Annotated[Path | None, typer.Option(help="Folder for the digest lists; default: build/code.")] = None,
) -> None:
    """Write the code digests of each stage and the service, and print what changed (pipeline stage)."""
    from sluice.core.closures import PROGRAMS, CodeGraph, changed

    workspace = Workspace.find()
    folder = out or workspace.build / "code"
    graph = CodeGraph(workspace.root)
    for name, program in PROGRAMS.items():
        path = folder / f"{name}.txt"
        before, now = path.read_text() if path.is_file() else "", graph.code_of(program).listing()
        if before != now:
            write_atomic(path, now)
            print(f"{name}: {changed(before, now)}")


@data.command("check")
def data_check(out: Annotated[Path | None, typer.Option(help="File for the report.")] = None) -> None:
    """Check data/ for contract faults and for the rows that gates need; report all at once (pipeline stage)."""
    from sluice.data.contract import check_or_raise
    from sluice.data.privacy import load_policy
    from sluice.evaluation.asked_rows import rows_of
    from sluice.release.decision import detection, require_rows

    workspace = Workspace.find()
    report = check_or_raise(workspace.data, policy=load_policy(workspace.config))
    rows, gates = rows_of(workspace), workspace.config / "gates.yaml"
    for sentence in detection(rows, gates):
        typer.echo(sentence, err=True)
    require_rows(rows, gates)
    summary = report.as_dict()
    if out:
        write_json(out, summary)
    print_json(summary)


@data.command("push")
def data_push(remote: RemoteOption = "") -> None:
    """Check data/, publish it and read it back, so that a fresh clone can pull all that data.dvc names."""
    from sluice.data.privacy import load_policy
    from sluice.data.publish import push

    workspace = Workspace.find()
    print_json(asdict(push(workspace, load_policy(workspace.config), remote)))


@data.command("verify")
def data_verify(remote: RemoteOption = "") -> None:
    """Read every object of data.dvc from the remote, as a fresh clone would; report all faults at once."""
    from sluice.data.publish import verify

    print_json(asdict(verify(Workspace.find(), remote)))


def list_extras() -> None:
    """List the optional parts, their purpose and whether they are on; `sluice init --without` switches them off."""
    for name, extra in EXTRAS.items():
        needs = f" (needs {', '.join(extra.needs)})" if extra.needs else ""
        print(f"{name:13}  {'on ' if name in extras() else 'off'}  {extra.summary}{needs}")
