"""The `sluice tools pin` command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.extras.tools.settings import PinnedTool


def tools_pin() -> None:
    """Pin every tool's current description in config/tools.lock.yaml. Review the changes before you commit."""
    import yaml

    from sluice.core.atomic_files import write_atomic
    from sluice.extras.tools.settings import LOCK

    now = _now()
    pins = {"tools": {name: one.model_dump() for name, one in sorted(now.items())}}
    head = "# What each tool of tools.yaml says of itself, as the model is shown it. Written by `sluice tools pin`.\n"
    text = yaml.safe_dump(pins, sort_keys=False, allow_unicode=True, width=110)
    write_atomic(Workspace.find().config / LOCK, head + text)
    print(f"{len(now)} tools are pinned in config/{LOCK}")


def _now() -> dict[str, PinnedTool]:
    import asyncio

    from sluice.core.settings import load_settings
    from sluice.extras.tools.settings import FILE, ToolsFile
    from sluice.extras.tools.toolbox import function_pin, server_pins

    tools = load_settings(Workspace.find().config / FILE, ToolsFile)
    found = {name: function_pin(name, settings) for name, settings in tools.functions.items()}
    for name, server in tools.servers.items():
        found |= asyncio.run(server_pins(name, server))
    return found


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    group = typer.Typer(no_args_is_help=True, help="Pin the tools that the model may call.")
    group.command("pin")(tools_pin)
    app.add_typer(group, name="tools")
