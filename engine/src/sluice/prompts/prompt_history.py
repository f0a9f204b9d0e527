"""Prompts at another commit, and the changes of the working tree against them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sluice.core import git
from sluice.prompts.prompt import Prompt
from sluice.prompts.prompt_diff import PromptChange, diff_prompts
from sluice.prompts.prompt_files import SUFFIX, parse_prompts


def load_prompts_at(root: Path, ref: str) -> dict[str, Prompt]:
    """All prompts of a branch, tag or commit by name; none where it has no prompts/. Faults: `ref:file:line: what`."""
    return _parsed(ref, _contents(root, ref))


def changes_since(root: Path, ref: str, head: Mapping[str, Prompt]) -> tuple[list[PromptChange], set[str]]:
    """Compares the working tree with a commit.

    Args:
        root: the checkout.
        ref: a branch, tag or commit.
        head: the prompts of the working tree.

    Returns:
        The changes, and the names of the prompts whose file has other bytes.

    Raises:
        SluiceError: there is no such commit.
        ValidationErrors: its prompts cannot be read; each fault as `ref:file:line: what`.
    """
    contents = _contents(root, ref)
    edited = {
        name for name in head if contents.get(f"{name}{SUFFIX}") != (root / "prompts" / f"{name}{SUFFIX}").read_bytes()
    }
    return diff_prompts(_parsed(ref, contents), head), edited


def _contents(root: Path, ref: str) -> dict[str, bytes]:
    return git.files_at(root, git.resolve(root, ref), "prompts", suffix=SUFFIX)


def _parsed(ref: str, contents: Mapping[str, bytes]) -> dict[str, Prompt]:
    return parse_prompts(ref, {f"{ref}:prompts/{name}": content for name, content in contents.items()})
