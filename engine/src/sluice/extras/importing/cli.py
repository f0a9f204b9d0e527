"""The `sluice data import` and `sluice data redact` commands."""

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
        typer.Argument(help="Questions (.csv, .tsv, .jsonl), SQuAD (.json) or documents (folder, .md, .html, .pdf)."),
    ],
    out: Annotated[Path, typer.Argument(help="Path to create: a .jsonl file for questions, otherwise a folder.")],
    licence: Annotated[str, typer.Option(help="Licence of the texts, such as CC-BY-4.0; recorded with them.")],
    origin: Annotated[str, typer.Option(help="Source of the texts, such as a URL; recorded with them.")],
    column: Annotated[
        list[str] | None, typer.Option(help="key=column if they differ, such as question=Frage; repeatable.")
    ] = None,
    delimiter: Annotated[str, typer.Option(help="Column delimiter of a .csv; default: that of its first line.")] = "",
    separator: Annotated[str, typer.Option(help="Separator of entries in answers, doc_ids and tags of a .csv.")] = "|",
    tag: Annotated[list[str] | None, typer.Option(help="Tag for every row; repeatable.")] = None,
    train_articles: Annotated[
        int, typer.Option(help="SQuAD: use the first N articles for training, the rest for evaluation.")
    ] = 0,
) -> None:
    """Import questions or documents, completely or not at all; list dropped items with reasons."""
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
    """Redact the personal data in data/ that config/data.yaml selects."""
    from sluice.data.data_policy import load_policy
    from sluice.extras.importing.redact_folder import redact_folder

    workspace = Workspace.find()
    print_json(redact_folder(workspace.data, load_policy(workspace.config).privacy))


def register(_: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    groups["data"].command("import")(data_import)
    groups["data"].command("redact")(data_redact)
