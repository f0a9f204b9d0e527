"""A prompt filled in with values from the command line, `name=value`, as the model would see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import nearest
from sluice.prompts import Prompt, Variable, load_prompt
from sluice.prompts.prompt_files import SUFFIX

_PARSERS: dict[str, Callable[[str], Any]] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": {"true": True, "false": False}.__getitem__,
}


def find_prompt(folder: Path, name: str) -> Prompt:
    """The prompt of that name; an unknown name is an error with the nearest one. Other files are not looked at."""
    known = [path.name.removesuffix(SUFFIX) for path in sorted(folder.glob(f"*{SUFFIX}"))]
    if name not in known:
        raise SluiceError(
            f"no prompt {name!r}{nearest(name, known)}", remedy=f"there are: {', '.join(known) or 'none'}"
        )
    return load_prompt(folder / f"{name}{SUFFIX}")


def preview(prompt: Prompt, values: dict[str, Any]) -> list[dict[str, str]]:
    """The rendered messages; variables without a value stay as they are written."""
    texts = tuple(variable.model_copy(update={"type": "string"}) for variable in prompt.variables)
    unfilled = {variable.name: f"{{{{{variable.name}}}}}" for variable in texts}
    return prompt.model_copy(update={"variables": texts}).render(**(unfilled | values))


def parse_values(prompt: Prompt, pairs: Iterable[str]) -> dict[str, Any]:
    """The values by variable, each of the variable's type. All that is wrong with the pairs is raised at once."""
    variables = {variable.name: variable for variable in prompt.variables}
    values: dict[str, Any] = {}
    faults = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            faults.append(f"{pair!r}: write variable=value")
        elif name not in variables:
            faults.append(f"{pair!r}: no variable {name!r}{nearest(name, list(variables))}")
        elif name in values:
            faults.append(f"{pair!r}: {name} has a value already")
        else:
            try:
                values[name] = _parsed(variables[name], text)
            except ValueError as error:
                faults.append(f"{pair!r}: {error}")
    if faults:
        known = ", ".join(f"{variable.name} ({variable.type})" for variable in prompt.variables) or "none"
        raise ValidationErrors(f"prompt {prompt.name}", faults, remedy=f"its variables: {known}")
    return values


def _parsed(variable: Variable, text: str) -> Any:
    """The value of a text such as `3` (integer) or `true` (boolean). ValueError says what is wrong."""
    try:
        value = _PARSERS[variable.type](text)
    except (ValueError, KeyError):
        kind = "true or false" if variable.type == "boolean" else variable.type
        raise ValueError(f"{text!r} is no {kind}") from None
    if fault := variable.fault(value):
        raise ValueError(fault)
    return value
