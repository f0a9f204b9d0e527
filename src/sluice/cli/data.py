"""`sluice data ...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import print_json
from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Check and import data.")


@group.command("check")
def data_check(out: Annotated[Path | None, typer.Option(help="Where to write the report.")] = None) -> None:
    """Check data/ against the contract; every fault at once (pipeline stage)."""
    from sluice.core.files import write_json
    from sluice.data.contract import check_or_raise

    report = check_or_raise(Workspace.find().data)
    summary = report.as_dict()
    if out:
        write_json(out, summary)
    print_json(summary)


@group.command("import-squad")
def data_import_squad(
    source: Annotated[Path, typer.Argument(help="A file in SQuAD 1.1 or 2.0 JSON.")],
    out: Annotated[Path, typer.Argument(help="Folder to create.")],
    train_articles: Annotated[
        int, typer.Option(help="The first N articles are for training, the rest for evaluation.")
    ],
    licence: Annotated[str, typer.Option(help="Licence of the texts, where the file names none.")] = "",
    origin: Annotated[str, typer.Option(help="Where the texts are from, where the file does not say.")] = "",
) -> None:
    """Import a SQuAD file as a data folder; what is dropped is listed with its reason."""
    from dataclasses import asdict

    from sluice.data.imports import squad

    imported = squad(source, out, train_articles=train_articles, licence=licence or None, source=origin or None)
    print_json(asdict(imported))


@group.command("import")
def data_import(
    source: Annotated[Path, typer.Argument(help="A .csv, .tsv or .jsonl file, one question a line.")],
    out: Annotated[Path, typer.Argument(help="The .jsonl file of rows to create.")],
    column: Annotated[
        list[str] | None, typer.Option(help="key=column where they differ, such as question=Frage; may be given again.")
    ] = None,
    delimiter: Annotated[str, typer.Option(help="Between columns of a .csv; default: the one of its first line.")] = "",
    separator: Annotated[str, typer.Option(help="Between the entries of answers, doc_ids and tags in a .csv.")] = "|",
    tag: Annotated[list[str] | None, typer.Option(help="Tag for every row; may be given again.")] = None,
) -> None:
    """Import questions as rows about data/corpus; what is dropped is listed with its reason. SQuAD: import-squad."""
    from sluice.data.tables import Layout, import_table, parse_columns

    layout = Layout(parse_columns(column or []), delimiter, separator, tuple(tag or []))
    print_json(import_table(source, out, Workspace.find().data, layout).as_dict())
