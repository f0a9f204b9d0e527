"""`sluice prompts show`, `sluice prompts test`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace


def prompts_show(
    name: str,
    values: Annotated[list[str] | None, typer.Option("--with", help="variable=value; may be given again.")] = None,
) -> None:
    """Render a prompt as the model would see it; variables without a value stay as they are written."""
    from sluice.extras.prompt_tests.filled_prompt import find_prompt, parse_values, preview

    prompt = find_prompt(Workspace.find().prompts, name)
    for message in preview(prompt, parse_values(prompt, values or [])):
        print(f"[{message['role']}]\n{message['content']}\n")


def prompts_test(
    names: Annotated[list[str] | None, typer.Argument(help="Prompts to try; default: all of them.")] = None,
    cases: Annotated[
        Path | None, typer.Option(help="JSON lines of {id, vars, expect}, in place of each prompt's testData.")
    ] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Call no model: recorded responses only.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for cases.jsonl and summary.json.")] = None,
) -> None:
    """Try prompts against the provider of their role. What was asked before is not asked again."""
    from sluice.extras.prompt_tests.prompt_report import print_tests
    from sluice.extras.prompt_tests.run_prompt_tests import run_tests, write_tests

    tested = run_tests(Workspace.find(), names or [], lines=cases, replay=replay)
    if out:
        write_tests(tested, out)
    print_tests(tested)
    if tested.passed < len(tested.records):
        raise SluiceError(f"{len(tested.records) - tested.passed} of {len(tested.records)} cases did not pass")


def register(_: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    groups["prompts"].command("show")(prompts_show)
    groups["prompts"].command("test")(prompts_test)
