"""Reads prompt files and reports all errors at once, each as `file:line: message`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Lines, describe_faults, parse_yaml, read_yaml
from sluice.prompts.prompt import Prompt
from sluice.prompts.prompt_consistency import inconsistencies

SUFFIX = ".prompt.yml"
_REMEDY = "fix what is named; the keys are listed in engine/docs/reference/prompts.md"


def load_prompt(path: Path, *, roles: Collection[str] = ()) -> Prompt:
    """The prompt in one file. `roles`: the model roles that exist; empty means they are not checked here."""
    prompt, faults = _validated(path, *read_yaml(path), roles)
    if prompt is None:
        raise ValidationErrors(str(path), faults, remedy=_REMEDY)
    return prompt


def load_prompts(folder: Path, *, roles: Collection[str] = ()) -> dict[str, Prompt]:
    """All prompts of a folder by name; faults of all files are raised together, and so is an empty folder."""
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise ValidationErrors(str(folder), [f"{folder}: no *{SUFFIX} file"], remedy="restore the files with git")
    return _load(str(folder), {path: partial(read_yaml, path) for path in paths}, roles)


def parse_prompts(where: str, contents: Mapping[str, bytes], *, roles: Collection[str] = ()) -> dict[str, Prompt]:
    """All prompts of files that are at hand."""
    read = {PurePath(place): partial(parse_yaml, content, place) for place, content in contents.items()}
    return _load(where, read, roles)


def _load(
    where: str, files: Mapping[PurePath, Callable[[], tuple[Any, Lines]]], roles: Collection[str]
) -> dict[str, Prompt]:
    prompts: dict[str, Prompt] = {}
    faults: list[str] = []
    owners: dict[str, PurePath] = {}
    for path, read in files.items():
        try:
            document, lines = read()
        except SluiceError as error:
            faults.append(error.message)
            continue
        prompt, found = _validated(path, document, lines, roles)
        faults += found
        name = document.get("name") if isinstance(document, dict) else None
        if isinstance(name, str) and owners.setdefault(name, path) != path:
            faults.append(f"{path}:{lines.get(('name',), 1)}: name: {name!r} is the name of {owners[name]} too")
        if prompt is not None:
            prompts[prompt.name] = prompt
    if faults:
        raise ValidationErrors(where, faults, remedy=_REMEDY)
    return prompts


def _validated(path: PurePath, document: Any, lines: Lines, roles: Collection[str]) -> tuple[Prompt | None, list[str]]:
    """The prompt, or None and what is wrong with it: its form, and whether its parts fit each other."""
    document = document if document is not None else {}
    prompt, faults = None, []
    try:
        prompt = Prompt.model_validate(document)
    except ValidationError as error:
        faults = describe_faults(path, error, lines, Prompt)
    faults += inconsistencies(path, document, lines, roles)
    return (None if faults else prompt), faults
