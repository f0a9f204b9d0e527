"""The commands of the kit, below `sluice data`: import, start, harvest, accept; diff, card, redact."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.cli.common import PortOption, print_json
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.extras.datakit.proposals import Proposals

PlaceOption = Annotated[
    str,
    typer.Option(
        "--from",
        envvar="SLUICE_TRAFFIC",
        help="Recorded traffic: a folder or file of OTLP lines, s3://…, or an MLflow store; default: this machine's.",
    ),
]
ProposalsOption = Annotated[Path | None, typer.Option("--out", help="Folder for the files; default: below build/.")]
PublishOption = Annotated[bool, typer.Option("--publish", help="Push a branch and open or update its PR.")]
_MOST_BYTES = 512 << 20  # an import is read as a whole


def data_import(
    source: Annotated[
        str,
        typer.Argument(
            help="Questions (.csv, .tsv, .jsonl), or documents: a file, a folder, a .zip, a git "
            "repository, a sitemap (.xml)."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Path to create: a .jsonl file for questions, otherwise a folder.")],
    licence: Annotated[str, typer.Option(help="Licence of the texts, such as CC-BY-4.0; recorded with them.")],
    origin: Annotated[str, typer.Option(help="Source of the texts, such as a URL; recorded with them.")],
    column: Annotated[
        list[str] | None, typer.Option(help="key=column if they differ, such as question=Frage; repeatable.")
    ] = None,
    delimiter: Annotated[str, typer.Option(help="Column delimiter of a .csv; default: that of its first line.")] = "",
    separator: Annotated[str, typer.Option(help="Separator of entries in answers, doc_ids and tags of a .csv.")] = "|",
    folder: Annotated[str, typer.Option(help="Take only what is below this folder of a repository or archive.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Documents: replace the folder OUT.")] = False,
    tag: Annotated[list[str] | None, typer.Option(help="Tag for every row; repeatable.")] = None,
) -> None:
    """Import questions or documents; list what is left out, with reasons. Exit code 1 if documents were left out."""
    from sluice.data.privacy import load_policy
    from sluice.extras.datakit import tables

    workspace = Workspace.find()
    layout = tables.TableLayout(tables.parse_columns(column or []), delimiter, separator, tuple(tag or []))
    path = Path(source)
    suffix = path.suffix.lower()
    if not licence.strip() or not origin.strip():
        remedy = "texts without a licence and a source may not be published"
        raise SluiceError("--licence or --origin is blank", remedy=remedy)
    terms: dict[str, Any] = {"licence": licence, "origin": origin, "policy": load_policy(workspace.config)}
    if suffix not in tables.SUFFIXES:
        _import_documents(source, out, folder, replace=replace, **terms)
        return
    if not path.is_file():
        raise SluiceError(f"{source}: no such file")
    if path.stat().st_size > _MOST_BYTES:
        raise SluiceError(f"{source}: over {_MOST_BYTES >> 20} MiB", remedy="split it: it is read as a whole")
    print_json(tables.import_table(path, out, workspace.data, layout, **terms))


def _import_documents(source: str, out: Path, folder: str, *, replace: bool, **terms: Any) -> None:
    from sluice.extras.datakit.documents import import_documents
    from sluice.extras.datakit.sources import opened

    with opened(source, folder) as (path, addresses):
        report = import_documents(path, out, addresses_of=addresses, replace=replace, **terms)
    print_json(report.as_dict())
    print(
        f"{report.documents} documents in {out}; {len(report.redacted)} values redacted, {len(report.left_out)} files "
        f"left out, {len(report.ignored)} of other kinds ignored\n"
        f"links lead to {len(report.hosts)} hosts; answers keep those that their passages state. "
        "To allow any link to a host, add it to `markup: hosts` in config/guardrails.yaml",
        file=sys.stderr,
    )
    if report.left_out:
        raise SluiceError(
            f"{len(report.left_out)} files were left out: {report.left_out[0]}",
            remedy="mend or allow what `left_out` lists, and repeat the command with --replace",
        )


def data_start(
    rows: Annotated[int, typer.Option(min=1, help="Number of rows to propose.")] = 240,
    page: Annotated[bool, typer.Option(help="Show each row on a local page; otherwise write files to read.")] = True,
    port: PortOption = 8080,
    out: ProposalsOption = None,
) -> None:
    """Propose a first set of rows about data/corpus, written by the role `teacher`, or by templates without one.

    You accept, edit or refuse each on a page that only this machine can open. Your decisions are kept as you go."""
    import uvicorn

    from sluice.core.processes import require_port
    from sluice.extras.datakit import proposals
    from sluice.extras.datakit.review import Review, review_page

    workspace = Workspace.find()
    if page:
        require_port(port)
    review = Review(workspace, rows)
    found = review.proposals
    print_json({"proposed": len(found.proposals), "left_out": found.left_out})
    if page:
        print(f"read them at http://127.0.0.1:{port}/ (Ctrl-C stops it; start it again to go on)", file=sys.stderr)
        uvicorn.run(review_page(review), host="127.0.0.1", port=port, log_level="warning", lifespan="off")
        return
    for side in proposals.SIDES:
        of = [one for one in found.proposals if one.facts["side"] == side]
        proposals.write(replace(found, sides=(side,), proposals=of), (out or workspace.build / found.name) / side)


def data_harvest(
    place: PlaceOption = "",
    at_least: Annotated[int, typer.Option(min=1, help="Minimum number of questions per proposed row.")] = 2,
    most: Annotated[int, typer.Option(min=1, help="Maximum number of proposed rows, most asked first.")] = 50,
    out: ProposalsOption = None,
    publish: PublishOption = False,
) -> None:
    """Propose rows for declined and low-scored questions; none counts until a person has read it."""
    from sluice.data.privacy import load_policy
    from sluice.extras.datakit.traffic import harvest, recorded

    workspace = Workspace.find()
    policy = load_policy(workspace.config).privacy
    found = harvest(workspace, recorded(workspace, place), policy, at_least=at_least, most=most)
    _propose(workspace, found, out, publish=publish)


def _propose(workspace: Workspace, found: Proposals, out: Path | None, *, publish: bool) -> None:
    from sluice.extras.datakit import proposals

    proposals.write(found, out or workspace.build / found.name)
    print_json({"proposed": len(found.proposals), "left_out": found.left_out})
    if publish and found.proposals:
        proposals.publish(workspace, found)


def data_accept(
    rows: Annotated[Path, typer.Argument(help="File of proposed rows, read and corrected.")],
    side: Annotated[str, typer.Argument(help="`train` or `eval`.")],
) -> None:
    """Add proposed rows that you have read to data/, unless they break its rules."""
    from sluice.data.privacy import load_policy
    from sluice.extras.datakit.proposals import accept

    workspace = Workspace.find()
    print(f"{accept(rows, side, workspace.data, load_policy(workspace.config))} rows accepted into data/{side}.jsonl")


def data_diff(
    base: Annotated[str, typer.Argument(help="Branch, tag or commit, or another data folder.")] = "origin/main",
) -> None:
    """Compare data/ with another version: rows and documents that were added, removed or changed."""
    from sluice.extras.datakit.dataset import checked_out, diff

    workspace = Workspace.find()
    with checked_out(workspace, base) as folder:
        print_json(diff(folder, workspace.data))


def data_card() -> None:
    """Print the datasheet of data/ as Markdown, computed from the data."""
    from sluice.data.privacy import load_policy
    from sluice.extras.datakit.dataset import card

    workspace = Workspace.find()
    print(card(workspace.data, load_policy(workspace.config)), end="")


def data_redact() -> None:
    """Redact the personal data in data/ that config/data.yaml selects."""
    from sluice.data.privacy import load_policy
    from sluice.extras.datakit.dataset import redact_folder

    workspace = Workspace.find()
    print_json(redact_folder(workspace.data, load_policy(workspace.config).privacy))


def register(_: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    proposing = (data_import, data_start, data_harvest, data_accept)
    for command in (*proposing, data_diff, data_card, data_redact):
        groups["data"].command(command.__name__.removeprefix("data_"))(command)
