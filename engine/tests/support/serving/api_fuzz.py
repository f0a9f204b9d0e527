"""Schemathesis against the service over a socket: right and wrong requests made from its own OpenAPI document."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests
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

from support.load.service import SteadyService

_CHECKS = (
    CHECKS.get_one("not_a_server_error"),
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
)
Answers = Counter[tuple[str, int]]  # (operation, status) -> number


def fuzz_service(service: SteadyService, cases: int, *, start: int = 0) -> Answers:
    """Sends about `cases` requests on connections that are kept, and counts the answers. Half are valid by the
    document, half are not; of each, two thirds carry a key that may do everything. Fails at a status 5xx, an answer
    that the document doesn't describe, and a lost connection."""
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{service.port}/openapi.json")
    with requests.Session() as session:
        session.trust_env = False
        return _Fuzz(schema, service, session).send(cases, start)


@dataclass
class _Fuzz:
    schema: Any
    service: SteadyService
    session: requests.Session
    seen: Answers = field(default_factory=Counter)

    def send(self, cases: int, start: int) -> Answers:
        operations = [found.ok() for found in self.schema.get_all_operations()]
        # A path without parameters has few different requests; those with a body get the others.
        bodies = [operation for operation in operations if operation.method.upper() == "POST"]
        few = min(10, max(1, cases // 50))
        many = max(1, (cases - few * 2 * (len(operations) - len(bodies))) // (2 * len(bodies)))
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                self._send(operation, mode, many if operation in bodies else few, start)
        return self.seen

    def _send(self, operation: Any, mode: GenerationMode, count: int, start: int) -> None:
        name = f"{operation.method.upper()} {operation.path}"
        made = 0

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
            nonlocal made
            made += 1
            if mode is GenerationMode.POSITIVE and made % 2 and isinstance(case.body, dict):
                case.body = self._meant(case.body, made)
            headers = {"authorization": self.service.authorization} if made % 3 else {}
            # 240 s, as the first call of MCP loads its library.
            response = case.call(headers=headers, timeout=240, session=self.session)
            self.seen[name, response.status_code] += 1
            case.validate_response(response, checks=_CHECKS)

        # A path that takes nothing has no wrong request.
        with suppress(Unsatisfiable):
            one()

    def _meant(self, body: dict[str, Any], number: int) -> dict[str, Any]:
        """The body as a caller means it, where the document cannot say so: a tool answers a call, the last message of
        the user has words, and feedback is about an answer that was given."""
        if "messages" in body:
            said = [one for one in body["messages"] if one["role"] != "tool" and not one.get("tool_calls")]
            options = body if number % 4 == 1 else {}  # what no option refuses is answered
            return {**options, "messages": [*said, {"role": "user", "content": "Why?"}][-256:]}
        if "trace_id" in body:
            return {name: value for name, value in body.items() if name != "release"} | {
                "trace_id": self.service.answer_id(f"{number:032x}")
            }
        return body
