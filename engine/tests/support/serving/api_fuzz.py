"""Schemathesis against the service in this process: requests made from its own OpenAPI document, right and wrong ones.

The unit test sends some hundreds; `engine/benchmarks/api_fuzz.py` sends as many as it is told.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sluice.serving.api_keys import add_key
from sluice.serving.auth import Caller, KeyRing
from sluice.serving.feedback import FeedbackLog, proof_of
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from support.serving.fakes import StubChain, scripted_bundle

_CHECKS = (
    CHECKS.get_one("not_a_server_error"),
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
)


def fuzz(cases: int, *, start: int = 0, chain: Any = None) -> Counter[tuple[str, int]]:
    """Sends about `cases` requests, from the random seed `start`; (operation, status) -> number.

    Half are valid by the document, half are not; of each, two thirds carry a key that may do everything. The first
    answer with a status 5xx, or one that the document does not describe, raises."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.json"
        secret = add_key(keys, "fuzz", tenant="acme", scopes=["chat", "feedback", "metrics"], rate=10_000_000)
        ring, bundle = KeyRing(keys), scripted_bundle()
        app: Any = create_app(
            bundle,
            chain or StubChain(),
            TrafficState(),
            keys=ring,
            feedback=FeedbackLog(Path(folder) / "feedback"),
        )
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        operations = [found.ok() for found in schema.get_all_operations()]
        # A path without parameters has few different requests; those with a body get the others.
        bodies = [operation for operation in operations if operation.method.upper() == "POST"]
        few = min(10, max(1, cases // 50))
        many = (cases - few * 2 * (len(operations) - len(bodies))) // (2 * len(bodies))
        seen: Counter[tuple[str, int]] = Counter()
        answer_id = lambda trace: trace + proof_of(Caller("fuzz", "acme", ring.signing), trace, bundle.release)  # noqa: E731
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _send(operation, mode, many if operation in bodies else few, (secret, answer_id), start, seen)
        return seen


def _send(
    operation: Any,
    mode: GenerationMode,
    count: int,
    known: tuple[str, Callable[[str], str]],
    start: int,
    seen: Counter[tuple[str, int]],
) -> None:
    secret, answer_id = known
    name = f"{operation.method.upper()} {operation.path}"
    sent = 0

    @seed(start)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        nonlocal sent
        sent += 1
        if mode is GenerationMode.POSITIVE and sent % 2 and isinstance(case.body, dict) and "messages" in case.body:
            # The document cannot say that the last message of the user must have words.
            case.body = {**case.body, "messages": [*case.body["messages"], {"role": "user", "content": "Why?"}][-256:]}
        if mode is GenerationMode.POSITIVE and sent % 2 and isinstance(case.body, dict) and "trace_id" in case.body:
            # Nor can it say which ids were given.
            rest = {name: value for name, value in case.body.items() if name != "release"}
            case.body = rest | {"trace_id": answer_id(f"{sent:032x}")}
        headers = {"authorization": f"Bearer {secret}"} if sent % 3 else {}
        response = case.call(headers=headers, timeout=240)  # the first of MCP loads its library
        seen[name, response.status_code] += 1
        case.validate_response(response, checks=_CHECKS)

    # A path that takes nothing has no wrong request.
    with suppress(Unsatisfiable):
        one()
