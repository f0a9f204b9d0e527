"""`sluice conversations erase` and `sweep`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from sluice.cli.common import print_json
from sluice.cli.index_build import StoreEnv, chosen_stores
from sluice.core.workspace import Workspace


def conversations_erase(
    person: Annotated[str, typer.Argument(help="As the header x-sluice-person names the person.")],
    tenant: Annotated[str, typer.Option(help="Of the keys; default: keys without a tenant.")] = "",
    key: Annotated[str, typer.Option(help="Name of the key; default: every key of the tenant.")] = "",
    env: StoreEnv = "",
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Write the tables anew: deleted rows leave their files.")
    ] = False,
) -> None:
    """Erase a person: conversations, feedback, traces here and in MLflow, cached responses.

    The output says what went, and where more may lie that the command cannot reach."""
    from dataclasses import asdict

    from sluice.extras.conversations.erase import erase

    workspace = Workspace.find()
    stores = chosen_stores(workspace, env=env)
    print_json(asdict(erase(workspace, stores, person, tenant=tenant, key=key, rewrite=rewrite)))


def conversations_sweep(env: StoreEnv = "") -> None:
    """Delete what config/conversations.yaml keeps no longer, and erase everybody who asked the service for it."""
    from dataclasses import asdict

    from sluice.extras.conversations.erase import sweep

    workspace = Workspace.find()
    print_json(asdict(sweep(workspace, chosen_stores(workspace, env=env))))


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    group = typer.Typer(no_args_is_help=True, help="Erase people, and conversations that are too old.")
    group.command("erase")(conversations_erase)
    group.command("sweep")(conversations_sweep)
    app.add_typer(group, name="conversations")
