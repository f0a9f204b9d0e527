"""`sluice prompts ...`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.common import print_json
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.prompts import Prompt

group = typer.Typer(no_args_is_help=True, help="Check, list and compare prompts.")


@group.command("check")
def prompts_check() -> None:
    """Check every file in prompts/; all faults at once, with file and line."""
    prompts = _prompts()
    print(f"{len(prompts)} prompts without a fault: {', '.join(prompts)}")


@group.command("list")
def prompts_list() -> None:
    """Every prompt: name, digest, role of the model, variables, description."""
    from sluice.prompts.prompt_terminal import print_prompts

    print_prompts(_prompts())


@group.command("diff")
def prompts_diff(
    base: Annotated[str, typer.Argument(help="Branch, tag or commit to compare the working tree with.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """What the prompts of the working tree change against BASE: wording, parameters, variables, digests."""
    from sluice.prompts.prompt_history import changes_since
    from sluice.prompts.prompt_terminal import print_changes

    workspace = Workspace.find()
    changes, edited = changes_since(workspace.root, base, _prompts())
    if as_json:
        print_json({"base": base, "prompts": [change.as_dict() for change in changes]})
    else:
        print_changes(changes, base=base, edited=edited)


def _prompts() -> dict[str, Prompt]:
    from sluice.llm.settings import PROMPT_ROLES
    from sluice.prompts import load_prompts

    return load_prompts(Workspace.find().prompts, roles=PROMPT_ROLES)
