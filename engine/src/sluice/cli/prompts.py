"""The `sluice prompts check` command."""

from __future__ import annotations

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Check, list, compare and test prompts.")


@group.command("check")
def prompts_check() -> None:
    """Check every file in prompts/ and report all faults with file and line."""
    from sluice.llm.settings import PROMPT_ROLES
    from sluice.prompts import load_prompts

    prompts = load_prompts(Workspace.find().prompts, roles=PROMPT_ROLES)
    print(f"{len(prompts)} prompts without a fault: {', '.join(prompts)}")
