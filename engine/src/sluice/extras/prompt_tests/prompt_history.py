"""Changes of the prompts of the working tree against those of a commit, which may have no prompts/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sluice.core import git
from sluice.prompts.prompt import Prompt
from sluice.prompts.prompt_diff import PromptChange, diff_prompts
from sluice.prompts.prompt_files import SUFFIX, parse_prompts


def changes_since(root: Path, ref: str, head: Mapping[str, Prompt]) -> tuple[list[PromptChange], set[str]]:
    """Compares the working tree with a commit."""
    contents = files_at(root, git.resolve(root, ref), "prompts", suffix=SUFFIX)
    base = parse_prompts(ref, {f"{ref}:prompts/{name}": content for name, content in contents.items()})
    folder = root / "prompts"
    edited = {name for name in head if contents.get(f"{name}{SUFFIX}") != (folder / f"{name}{SUFFIX}").read_bytes()}
    return diff_prompts(base, head), edited


def files_at(root: Path, commit: str, folder: str, *, suffix: str = "") -> dict[str, bytes]:
    """Files that lie directly in a folder at a commit."""
    listed = git.run_bytes(root, "ls-tree", "-z", commit, f"{folder}/").decode("utf-8", "surrogateescape")
    found = {}
    for entry in filter(None, listed.split("\0")):
        facts, path = entry.split("\t", 1)
        kind, digest = facts.split()[1:]
        name = path.rpartition("/")[2]
        if kind == "blob" and name.endswith(suffix):
            found[name] = git.run_bytes(root, "cat-file", "blob", digest)
    return found
