"""Reads prompt files and reports every fault at once, each as `file:line: what`."""

from __future__ import annotations

import copy
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sluice.core.errors import Faults, SluiceError
from sluice.core.settings import describe_faults, nearest, read_yaml
from sluice.prompts.prompt import PLACEHOLDER, Prompt

SUFFIX = ".prompt.yml"


def load_prompt(path: Path, *, roles: Collection[str] = ()) -> Prompt:
    """The prompt in one file. `roles`: the model roles that exist; empty means they are not checked here."""
    prompt, faults = _read(path, roles)
    if faults or prompt is None:
        raise Faults(str(path), faults, remedy="mend the file; the keys are listed in docs/reference/prompts.md")
    return prompt


def load_prompts(folder: Path, *, roles: Collection[str] = ()) -> dict[str, Prompt]:
    """All prompts of a folder by name; faults of all files are raised together."""
    prompts: dict[str, Prompt] = {}
    faults: list[str] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            prompt, found = _read(path, roles)
        except SluiceError as error:
            prompt, found = None, [error.message]
        faults += found
        if prompt is not None:
            prompts[prompt.name] = prompt
    if not prompts and not faults:
        faults = [f"{folder}: no *{SUFFIX} file"]
    if faults:
        raise Faults(str(folder), faults, remedy="mend the files; the keys are listed in docs/reference/prompts.md")
    return prompts


def _read(path: Path, roles: Collection[str]) -> tuple[Prompt | None, list[str]]:
    document, lines = read_yaml(path)
    document = document if document is not None else {}
    faults: list[str] = []
    try:
        prompt = Prompt.model_validate(document)
    except ValidationError as error:
        faults = describe_faults(path, error, lines, Prompt)
        try:  # with only unknown keys against it, the rest of the file is checked in the same pass
            prompt = Prompt.model_validate(_without_unknown_keys(document, error))
        except ValidationError:
            return None, faults
    faults += _inconsistencies(path, prompt, lines, roles)
    return (None if faults else prompt), faults


def _without_unknown_keys(document: Any, error: ValidationError) -> Any:
    pruned = copy.deepcopy(document)
    for fault in error.errors():
        if fault["type"] == "extra_forbidden":
            *above, key = fault["loc"]
            holder = pruned
            for part in above:
                holder = holder[part]
            del holder[key]
    return pruned


def _inconsistencies(
    path: Path, prompt: Prompt, lines: dict[tuple[str | int, ...], int], roles: Collection[str]
) -> list[str]:
    """Faults between the parts of a prompt that is well-formed."""
    faults: list[str] = []

    def fault(place: tuple[str | int, ...], where: str, what: str) -> None:
        known = place
        while known and known not in lines:  # a key may come out of a YAML merge (`<<`) and have no line of its own
            known = known[:-1]
        faults.append(f"{path}:{lines.get(known, 1)}: {where}: {what}")

    if path.name != f"{prompt.name}{SUFFIX}":
        fault(("name",), "name", f"is {prompt.name!r}, but the file is named {path.name!r}")
    if roles and prompt.model not in roles:
        fault(("model",), "model", f"no role {prompt.model!r}{nearest(prompt.model, list(roles))}")
    declared = [variable.name for variable in prompt.variables]
    for number, message in enumerate(prompt.messages):
        for name in sorted(set(PLACEHOLDER.findall(message.content)) - set(declared)):
            what = f"undeclared variable {name!r}{nearest(name, declared)}"
            fault(("messages", number, "content"), f"messages.{number}.content", what)
    for number, name in enumerate(declared):
        if name not in prompt.placeholders():
            fault(("variables", number), f"variables.{number}", f"{name!r} is declared but never used")
        if name in declared[:number]:
            fault(("variables", number), f"variables.{number}", f"{name!r} is declared twice")
    for number, values in enumerate(prompt.test_data):
        for name in values:
            if name not in declared and name != "expected":
                what = f"no variable {name!r}{nearest(name, declared)}"
                fault(("testData", number, name), f"testData.{number}", what)
    return faults
