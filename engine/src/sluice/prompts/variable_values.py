"""Values of variables from the command line: `name=value`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sluice.core.errors import ValidationErrors
from sluice.core.settings import nearest
from sluice.prompts.prompt import Prompt


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
                values[name] = variables[name].parse(text)
            except ValueError as error:
                faults.append(f"{pair!r}: {error}")
    if faults:
        known = ", ".join(f"{variable.name} ({variable.type})" for variable in prompt.variables) or "none"
        raise ValidationErrors(f"prompt {prompt.name}", faults, remedy=f"its variables: {known}")
    return values
