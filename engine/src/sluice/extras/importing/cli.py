"""`sluice data import`, `sluice data redact`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import print_json
from sluice.core.workspace import Workspace


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
    from sluice.data.data_policy import load_policy
    from sluice.extras.importing.import_source import import_any
    from sluice.extras.importing.import_table import TableLayout, parse_columns

    workspace = Workspace.find()
    layout = TableLayout(parse_columns(column or []), delimiter, separator, tuple(tag or []))
    print_json(
        import_any(
            source,
            out,
            data=workspace.data,
            layout=layout,
            licence=licence,
            origin=origin,
            train_articles=train_articles,
            policy=load_policy(workspace.config),
        )
    )


def data_redact() -> None:
    """Replace the personal data in data/ that config/data.yaml says to redact."""
    from sluice.data.data_policy import load_policy
    from sluice.extras.importing.redact_folder import redact_folder

    workspace = Workspace.find()
    print_json(redact_folder(workspace.data, load_policy(workspace.config).privacy))


def register(_: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    groups["data"].command("import")(data_import)
    groups["data"].command("redact")(data_redact)
