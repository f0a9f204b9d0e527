"""JSON Schema: the whole answer is JSON that is valid under the row's `expect.json_schema`. Rows with this expectation
only.

Without `$schema` it is of draft 2020-12. Text or a code fence around the JSON fails, because a program that reads the
answer would fail too. References to other documents are not fetched.
"""

import json
from typing import Any, NoReturn

from sluice.evaluation.registry import Assertion, Output, Row, metric


@metric(
    what="the whole answer is JSON that `expect.json_schema` accepts",
    unit="share",
    rows="that ask for it",
    aggregate="share",
    libraries=("jsonschema",),
)
def json_schema(row: Row, output: Output) -> Assertion | None:
    if row.expect is None or row.expect.json_schema is None:
        return None
    try:
        value = json.loads(output.text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return Assertion(False, f"not JSON: {error}")
    fault = _fault(row.expect.json_schema, value)
    return Assertion(fault is None, fault or "")


def _fault(schema: dict[str, Any], value: Any) -> str | None:
    """The most telling reason why the schema refuses the value, or None."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for
    from referencing import Registry

    validator = validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())
    error = best_match(validator.iter_errors(value))
    return None if error is None else f"{error.json_path}: {error.message}"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
