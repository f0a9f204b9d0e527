"""Requests and answers of AWS, held against the models of its services that botocore carries.

botocore itself asks for what is required, for types and for lower bounds of a request. Left to AWS are enumerations,
patterns and upper bounds; they are asked for here as well, and all of it of answers that a test plays. Patterns of the
models are Java's and stand for the whole text, which `regex` understands.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
import pytest
import regex
from botocore.model import OperationModel, ServiceModel, Shape

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
    return list(_FAULTS.get(shape.type_name, _scalar)(shape, value, place))


def _structure(shape: Any, value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is not a structure"
        return
    yield from (f"{place}.{name}: is missing" for name in shape.required_members if name not in value)
    for name, held in value.items():
        if name not in shape.members:
            yield f"{place}.{name}: {shape.name} has no such member"
        elif held is not None:
            yield from faults(shape.members[name], held, f"{place}.{name}")


def _list(shape: Any, value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, (list, tuple)):
        yield f"{place}: {value!r} is not a list"
        return
    yield from _bounds(shape, len(value), place)
    for number, one in enumerate(value):
        yield from faults(shape.member, one, f"{place}[{number}]")


def _map(shape: Any, value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is not a map"
        return
    yield from _bounds(shape, len(value), place)
    for key, one in value.items():
        yield from faults(shape.key, key, f"{place}.{key}")
        yield from faults(shape.value, one, f"{place}.{key}")


def _string(shape: Any, value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{place}: {value!r} is not text"
        return
    yield from _bounds(shape, len(value), place)
    if shape.enum and value not in shape.enum:
        yield f"{place}: {value!r} is none of {shape.enum}"
    pattern = shape.metadata.get("pattern")
    if pattern and not regex.fullmatch(pattern.replace(*_SURROGATES), value):
        yield f"{place}: {value!r} does not match {pattern}"


def _scalar(shape: Shape, value: Any, place: str) -> Iterator[str]:
    kinds: dict[str, tuple[type, ...]] = {"integer": (int,), "long": (int,), "boolean": (bool,)}
    kinds |= dict.fromkeys(("float", "double"), (int, float))
    if shape.type_name in kinds and (not isinstance(value, kinds[shape.type_name])):
        yield f"{place}: {value!r} is not of type {shape.type_name}"
    elif shape.type_name in kinds and not isinstance(value, bool):
        yield from _bounds(shape, value, place)


def _bounds(shape: Shape, size: float, place: str) -> Iterator[str]:
    if size < shape.metadata.get("min", size):
        yield f"{place}: {size} is below {shape.metadata['min']}"
    if size > shape.metadata.get("max", size):
        yield f"{place}: {size} is above {shape.metadata['max']}"


_FAULTS = {"structure": _structure, "list": _list, "map": _map, "string": _string}


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
