"""Reads prompt files and reports every fault at once, each as `file:line: what`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pydantic import ValidationError

from sluice.core.errors import Faults
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
        prompt, found = _read(path, roles)
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
    try:
        prompt = Prompt.model_validate(document if document is not None else {})
    except ValidationError as error:
        return None, describe_faults(path, error, lines, Prompt)
    faults = []
    if path.name != f"{prompt.name}{SUFFIX}":
        faults.append(f"{path}:{lines[('name',)]}: name: is {prompt.name!r}, but the file is named {path.name!r}")
    if roles and prompt.model not in roles:
        faults.append(
            f"{path}:{lines[('model',)]}: model: no role {prompt.model!r}{nearest(prompt.model, list(roles))}"
        )
    declared = [variable.name for variable in prompt.variables]
    for number, message in enumerate(prompt.messages):
        for name in sorted(set(PLACEHOLDER.findall(message.content)) - set(declared)):
            line = lines[("messages", number, "content")]
            faults.append(
                f"{path}:{line}: messages.{number}.content: undeclared variable {name!r}{nearest(name, declared)}"
            )
    for number, name in enumerate(declared):
        line = lines[("variables", number)]
        if name not in prompt.placeholders():
            faults.append(f"{path}:{line}: variables.{number}: {name!r} is declared but never used")
        if name in declared[:number]:
            faults.append(f"{path}:{line}: variables.{number}: {name!r} is declared twice")
    for number, values in enumerate(prompt.test_data):
        for name in values:
            if name not in declared and name != "expected":
                line = lines[("testData", number, name)]
                faults.append(f"{path}:{line}: testData.{number}: no variable {name!r}{nearest(name, declared)}")
    return (None if faults else prompt), faults
