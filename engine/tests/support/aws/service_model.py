"""Requests and answers of AWS, held against the models of its services that botocore carries.

botocore looks at members, types and lower bounds. Left to AWS are enumerations, patterns and upper bounds, which are
looked at here. Patterns of the models are Java's and stand for the whole text, which `regex` understands.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
import pytest
import regex
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.validate import ParamValidator

# Java's two halves of what lies above U+FFFF.
_SURROGATES = (r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
# (service, operation, parameters) since `watch`.
REQUESTS: list[tuple[str, str, dict[str, Any]]] = []


@cache
def service(name: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(name)


def operation(name: str, call: str) -> OperationModel:
    return service(name).operation_model(call)


def faults(shape: Shape | None, value: Any, place: str = "") -> list[str]:
    """Describe where a value differs from a shape."""
    if shape is None:
        return [] if not value else [f"{place}: nothing belongs here"]
    report = ParamValidator().validate(value, shape).generate_report()
    return [*report.splitlines(), *_left_to_aws(shape, value, place)]


def _left_to_aws(shape: Any, value: Any, place: str) -> Iterator[str]:
    size = value if isinstance(value, (int, float)) else len(value) if hasattr(value, "__len__") else 0
    if size > shape.metadata.get("max", size):
        yield f"{place}: {size} is above {shape.metadata['max']}"
    if shape.type_name == "structure":
        for name in value.keys() & shape.members.keys():
            yield from _left_to_aws(shape.members[name], value[name], f"{place}.{name}")
    elif shape.type_name == "list":
        for number, one in enumerate(value):
            yield from _left_to_aws(shape.member, one, f"{place}[{number}]")
    elif shape.type_name == "map":
        for key, one in value.items():
            yield from _left_to_aws(shape.key, key, f"{place}.{key}")
            yield from _left_to_aws(shape.value, one, f"{place}.{key}")
    elif shape.type_name == "string":
        pattern = shape.metadata.get("pattern")
        if shape.enum and value not in shape.enum:
            yield f"{place}: {value!r} is none of {shape.enum}"
        if pattern and not regex.fullmatch(pattern.replace(*_SURROGATES), value):
            yield f"{place}: {value!r} does not match {pattern}"


def watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check each request of boto3's clients by its model, and keep it in `REQUESTS`."""
    import boto3

    def asked(params: dict[str, Any], model: OperationModel, **_: Any) -> None:
        found = faults(model.input_shape, params, model.name)
        assert not found, found
        REQUESTS.append((model.service_model.service_name, model.name, params))

    REQUESTS.clear()
    session = botocore.session.get_session()
    session.register("provide-client-params.*.*", asked)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", boto3.Session(botocore_session=session))
