"""The `sluice prompts list`, `diff`, `show` and `test` commands."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.common import tell
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.prompts import Prompt


def prompts_list() -> None:
    """List every prompt: name, digest, model role, variables and description."""
    from sluice.extras.prompt_tests.prompt_terminal import print_prompts

    print_prompts(_prompts())


def prompts_diff(
    base: Annotated[str, typer.Argument(help="Branch, tag or commit to compare the working tree with.")],
) -> None:
    """Compare the working tree's prompts with BASE: their digests, and the words that changed."""
    from sluice.extras.prompt_tests.prompt_terminal import describe_changes

    text = describe_changes(Workspace.find().root, base, _prompts())
    print(text)
    if "GITHUB_STEP_SUMMARY" in os.environ:
        fence = "`" * max(
            [3, *(len(run) + 1 for run in re.findall("`+", text))]
        )  # a prompt may hold a fence of its own
        tell(f"### Prompts\n\n{fence}\n{text}\n{fence}\n")


def prompts_show(
    name: str,
    values: Annotated[list[str] | None, typer.Option("--with", help="variable=value; repeatable.")] = None,
) -> None:
    """Render a prompt as the model sees it; variables without a value stay as written."""
    from sluice.extras.prompt_tests.prompt_cases import find_prompt, preview

    prompt = find_prompt(Workspace.find().prompts, name)
    for message in preview(prompt, values or []):
        print(f"[{message['role']}]\n{message['content']}\n")


def prompts_test(
    names: Annotated[list[str] | None, typer.Argument(help="Prompts to test; default: all.")] = None,
    cases: Annotated[
        Path | None, typer.Option(help="JSON lines of {id, vars, expect} to use instead of each prompt's testData.")
    ] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Use recorded responses only; call no model.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for cases.jsonl and summary.json.")] = None,
) -> None:
    """Test prompts against the provider of their role; recorded responses are reused."""
    from sluice.extras.prompt_tests.prompt_terminal import print_tests
    from sluice.extras.prompt_tests.run_prompt_tests import run_tests, write_tests

    tested = run_tests(Workspace.find(), names or [], lines=cases, replay=replay)
    if out:
        write_tests(tested, out)
    print_tests(tested)
    if tested.passed < len(tested.records):
        raise SluiceError(f"{len(tested.records) - tested.passed} of {len(tested.records)} cases did not pass")


def register(_: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    groups["prompts"].command("list")(prompts_list)
    groups["prompts"].command("diff")(prompts_diff)
    groups["prompts"].command("show")(prompts_show)
    groups["prompts"].command("test")(prompts_test)


def _prompts() -> dict[str, Prompt]:
    from sluice.llm.settings import PROMPT_ROLES
    from sluice.prompts import load_prompts

    return load_prompts(Workspace.find().prompts, roles=PROMPT_ROLES)
