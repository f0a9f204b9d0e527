"""The `sluice keys` commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


@group.command("add")
def keys_add(
    name: Annotated[str, typer.Argument(help="Name of the key's owner: a-z, 0-9, '.', '_' and '-'.")],
    tenant: Annotated[str, typer.Option(help="Tenant whose documents the key may use, besides the shared ones.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="chat, feedback or metrics; repeatable. Default: chat and feedback."),
    ] = None,
    rate: Annotated[int, typer.Option(help="Requests per minute.")] = 60,
) -> None:
    """Create an API key and print it. It's shown only once; the file keeps only its hash."""
    from sluice.serving.api_keys import add_key, keys_path

    path = keys_path(Workspace.find().state)
    print(add_key(path, name, tenant=tenant or None, scopes=scope or ["chat", "feedback"], rate=rate))
    print(f"{path} holds its hash; a running service takes it within a second", file=sys.stderr)


@group.command("list")
def keys_list() -> None:
    """List the keys and their permissions, without secrets."""
    from sluice.serving.api_keys import keys_path, read_keys

    for key in read_keys(keys_path(Workspace.find().state)).keys:
        state = f"revoked {key.revoked}" if key.revoked else "in force"
        tenant = key.tenant or "-"
        print(f"{key.name:<20} {key.id}  {tenant:<16} {','.join(key.scopes):<22} {key.rate:>6}/min  {state}")


@group.command("revoke")
def keys_revoke(name: Annotated[str, typer.Argument(help="Name of the key's owner.")]) -> None:
    """Revoke an API key. A running service rejects it within a second."""
    from sluice.serving.api_keys import keys_path, revoke_key

    revoke_key(keys_path(Workspace.find().state), name)
    print(f"{name} is revoked")
