"""`sluice data ...`"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from sluice.cli.common import print_json
from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Check, import, compare and publish data.")

RemoteOption = Annotated[str, typer.Option(help="Name of a remote in .dvc/config; default: the default one.")]


def _policy(workspace: Workspace) -> Any:
    from sluice.data.policy import load_policy

    return load_policy(workspace.config)


@group.command("check")
def data_check(out: Annotated[Path | None, typer.Option(help="Where to write the report.")] = None) -> None:
    """Check data/ against the contract, every fault at once, and for the rows that gates need (pipeline stage)."""
    from sluice.core.files import write_json
    from sluice.data.contract import check_or_raise
    from sluice.evaluation.asked_rows import rows_of
    from sluice.release.coverage import require_rows

    workspace = Workspace.find()
    report = check_or_raise(workspace.data, policy=_policy(workspace))
    require_rows(rows_of(workspace), workspace.config / "gates.yaml")
    summary = report.as_dict()
    if out:
        write_json(out, summary)
    print_json(summary)


@group.command("import")
def data_import(
    source: Annotated[
        Path,
        typer.Argument(help="Questions (.csv, .tsv, .jsonl), SQuAD (.json), or documents: a folder, .md, .html, .pdf."),
    ],
    out: Annotated[Path, typer.Argument(help="What to create: a .jsonl file for questions, otherwise a folder.")],
    licence: Annotated[str, typer.Option(help="Licence of the texts, such as CC-BY-4.0; recorded with them.")],
    origin: Annotated[str, typer.Option(help="Where the texts are from, such as an address; recorded with them.")],
    column: Annotated[
        list[str] | None, typer.Option(help="key=column where they differ, such as question=Frage; may be given again.")
    ] = None,
    delimiter: Annotated[str, typer.Option(help="Between columns of a .csv; default: the one of its first line.")] = "",
    separator: Annotated[str, typer.Option(help="Between the entries of answers, doc_ids and tags in a .csv.")] = "|",
    tag: Annotated[list[str] | None, typer.Option(help="Tag for every row; may be given again.")] = None,
    train_articles: Annotated[
        int, typer.Option(help="SQuAD: the first N articles are for training, the rest for evaluation.")
    ] = 0,
) -> None:
    """Import questions or documents, whole or not at all; what is dropped is listed with its reason."""
    from sluice.data.importing import import_any
    from sluice.data.tables import Layout, parse_columns

    workspace = Workspace.find()
    layout = Layout(parse_columns(column or []), delimiter, separator, tuple(tag or []))
    print_json(
        import_any(
            source,
            out,
            data=workspace.data,
            layout=layout,
            licence=licence,
            origin=origin,
            train_articles=train_articles,
            policy=_policy(workspace),
        )
    )


@group.command("diff")
def data_diff(
    base: Annotated[str, typer.Argument(help="A branch, tag or commit, or another data folder.")] = "origin/main",
) -> None:
    """What data/ has that another version has not: rows, documents, and how distributions moved."""
    from sluice.data.difference import compare, read_version
    from sluice.data.publish import checked_out
    from sluice.data.shift import load_shift_policy

    workspace = Workspace.find()
    policy = load_shift_policy(workspace.config / "gates.yaml")
    with checked_out(workspace, base) as folder:
        print_json(compare(read_version(folder), read_version(workspace.data)).as_dict(policy))


@group.command("card")
def data_card(
    out: Annotated[Path | None, typer.Option(help="Where to write it; default: standard output.")] = None,
) -> None:
    """The datasheet of data/ as Markdown, made of the data."""
    from sluice.core.files import write_atomic
    from sluice.data.card import card

    workspace = Workspace.find()
    page = card(workspace.data, _policy(workspace))
    if out:
        write_atomic(out, page)
    else:
        print(page, end="")


@group.command("redact")
def data_redact() -> None:
    """Replace the personal data in data/ that config/data.yaml says to redact."""
    from sluice.data.redaction import redact_folder

    workspace = Workspace.find()
    print_json(redact_folder(workspace.data, _policy(workspace).privacy))


@group.command("push")
def data_push(remote: RemoteOption = "") -> None:
    """Check data/, publish it, and read it back: what data.dvc then names, a fresh clone can pull."""
    from dataclasses import asdict

    from sluice.data.publish import push

    workspace = Workspace.find()
    print_json(asdict(push(workspace, _policy(workspace), remote)))


@group.command("verify")
def data_verify(remote: RemoteOption = "") -> None:
    """Read every object of data.dvc out of the remote, as a fresh clone would; every fault at once."""
    from dataclasses import asdict

    from sluice.data.publish import verify

    print_json(asdict(verify(Workspace.find(), remote)))


@group.command("gc")
def data_gc(
    remote: RemoteOption = "",
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without, only say what would go.")] = False,
) -> None:
    """Remove versions of the data from the remote that no branch, tag or kept release needs."""
    from dataclasses import asdict

    from sluice.data.garbage import KeptRelease, collect
    from sluice.release.kept import kept_manifests

    workspace = Workspace.find()
    kept = [KeptRelease(one.id, one.commit, one.data.digest) for one in kept_manifests(workspace, os.environ)]
    print_json(asdict(collect(workspace, kept, remote=remote, delete=delete)))


PlaceOption = Annotated[
    str,
    typer.Option(
        "--from",
        envvar="SLUICE_TRAFFIC",
        help="Recorded traffic: a folder or file of OTLP lines, s3://…, or an MLflow store; default: this machine's.",
    ),
]


@group.command("drift")
def data_drift(
    place: PlaceOption = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the report; default: build/drift.")] = None,
) -> None:
    """Compare what users ask and get with the evaluation set; exit code 3 when it has shifted."""
    from sluice.data.shift import load_shift_policy
    from sluice.extras.traffic import stage
    from sluice.extras.traffic.page import write_page
    from sluice.github.notices import notice
    from sluice.jobs import dvc as pipeline

    workspace = Workspace.find()
    traffic = stage.recorded(workspace, place)
    if not traffic.exchanges:
        notice("no traffic is recorded, so there is nothing to compare: engine/docs/reference/data.md", os.environ)
        return
    pipeline.pull(workspace)
    policy = load_shift_policy(workspace.config / "gates.yaml")
    found = stage.drift(workspace, traffic)
    print_json({"broken_lines": traffic.broken, **found.as_dict(policy)})
    print(write_page(found, policy, out or workspace.build / "drift"))
    found.require(policy)


@group.command("harvest")
def data_harvest(
    place: PlaceOption = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the files; default: build/harvest.")] = None,
    at_least: Annotated[int, typer.Option(min=1, help="Questions that a proposed row has to stand for.")] = 2,
    most: Annotated[int, typer.Option(min=1, help="Rows that are proposed, those asked most.")] = 50,
    publish: Annotated[bool, typer.Option("--publish", help="Push a branch and open or update its PR.")] = False,
) -> None:
    """Propose rows for what was declined or scored low; none counts until a person has read it."""
    from sluice.data.proposals import write
    from sluice.extras.traffic import proposals, stage
    from sluice.extras.traffic.harvest import Settings

    workspace = Workspace.find()
    traffic = stage.recorded(workspace, place)
    found = stage.harvest(workspace, traffic, _policy(workspace).privacy, Settings(at_least=at_least, most=most))
    files = proposals.files(found)
    write(files, out or workspace.build / "harvest")
    print_json({"proposed": len(found.proposals), "left_out": found.left_out, "broken_lines": traffic.broken})
    if publish and found.proposals:
        _publish(workspace, files, proposals.PLACE)


@group.command("generate")
def data_generate(
    rows: Annotated[int, typer.Option(min=1, help="Rows that are wanted.")] = 50,
    each: Annotated[int, typer.Option(min=1, help="Questions that are asked for of one passage.")] = 3,
    seed: Annotated[int, typer.Option(help="Draws the passages, and is sent to the teacher.")] = 1,
    agreement: Annotated[float, typer.Option(min=0, max=1, help="Token F1 of the answer that is found again.")] = 0.6,
    checked_by: Annotated[
        str, typer.Option(help="Role of config/providers.yaml that finds the answers again: teacher, judge or chat.")
    ] = "teacher",
    minutes: Annotated[float, typer.Option(min=0.1, help="Then it ends with the rows there are.")] = 30,
    out: Annotated[Path | None, typer.Option(help="Folder for the files; default: build/generated.")] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Push a branch and open or update its PR.")] = False,
) -> None:
    """Propose rows that the role `teacher` writes about the corpus; none counts until a person has read it."""
    from sluice.data.proposals import write
    from sluice.extras.synthetic import proposals, stage
    from sluice.extras.synthetic.generate import Settings

    workspace = Workspace.find()
    settings = Settings(rows=rows, each=each, seed=seed, agreement=agreement, minutes=minutes)
    made = stage.run(workspace, settings, _policy(workspace).privacy, checked_by=checked_by)
    write(made.files, out or workspace.build / "generated")
    print_json(
        {"proposed": len(made.found.proposals), "passages": made.found.passages, "left_out": made.found.left_out}
    )
    if publish:
        _publish(workspace, made.files, proposals.PLACE)


def _publish(workspace: Workspace, files: dict[str, str], place: Any) -> None:
    """The files as one commit on the branch of a `Place`, and its pull request."""
    from sluice.core.git import run
    from sluice.data.proposals import PAGE
    from sluice.github.branch import commit_tree, push_branch, with_files
    from sluice.github.pulls import Pull, upsert_pull

    root = workspace.root
    head = run(root, "rev-parse", "HEAD")
    tree = with_files(root, head, {f"{place.folder}/{name}": content for name, content in files.items()})
    commit = commit_tree(root, tree, place.message, head)
    print(push_branch(root, commit, place.branch, place.mark, os.environ))
    posted = upsert_pull(Pull(place.branch, place.title, place.body(files[PAGE])), os.environ)
    print(f"{posted.message}: {posted.url}")
