"""The whole application, in this process, over two scripted providers that fail: how late its answers are, who gives
them, and when the first provider is left alone and asked again.

Times are those of the event loop that the application runs on, which does not count what the machine does beside it.
`engine/benchmarks/failing_providers.py` measures them.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from sluice.guardrails.guards import Guards
from sluice.llm.resilience import ProviderAttempt
from sluice.serving.http_api import create_app
from sluice.serving.middleware import CHAT, TrafficState
from sluice.serving.runner import ApplicationRunner
from support.event_loop import run
from support.load.service import QUESTION, SteadyRetriever
from support.providers.clients import chat_over
from support.providers.server import Upstream, upstream
from support.serving.fakes import GUARDRAILS, scripted_bundle

RETRIES = 3
LIMITS = {"max_body_bytes": 4096, "max_concurrent": 64}
_HEADERS = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
_SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "POST",
    "path": CHAT,
    "raw_path": CHAT.encode(),
    "headers": _HEADERS,
}
_SCOPE |= {"query_string": b"", "http_version": "1.1", "asgi": {"version": "3.0", "spec_version": "2.3"}}


@dataclass(frozen=True)
class Told:
    """One answer: its status, its body, and the seconds until the application had done with the request."""

    status: int
    body: str
    seconds: float


class Failing:
    """An application with `deadline` seconds for an answer.

    `a_first_token`: seconds that the first provider has for its first text; `failures`: those that open a breaker, by
    default as in config/providers.yaml; `places`: requests that a provider takes at a time, and more do not wait."""

    def __init__(
        self, servers: list[Upstream], *, deadline: float, a_first_token: float, failures: int, places: int | None
    ) -> None:
        self.a, self.b = servers
        self.attempts: list[ProviderAttempt] = []
        self.sent: list[dict[str, Any]] = []  # of the last request
        breaker = {"window": 2 * failures, "failures": failures, "open_seconds": 5}
        usual = {"retries": RETRIES, "max_concurrency": places or 64, "breaker": breaker}
        waits = {"connect": 60, "queue": 0 if places else 60}
        first, second = waits | {"first_token": a_first_token}, waits | {"first_token": 60}
        self.chat = chat_over(servers, usual | {"timeouts": first}, usual | {"timeouts": second})
        self.chat.observers.append(self.attempts.append)
        llm = {"threads": 1, "slots": 2, "context": 2048, "timeout_seconds": deadline}
        bundle = scripted_bundle(llm=llm, limits=LIMITS)
        chain = ApplicationRunner(bundle, self.chat, SteadyRetriever(), Guards(GUARDRAILS))
        self._app = create_app(bundle, chain, TrafficState(), providers=self.chat)

    def answer(self, *, stream: bool = False, patient: bool = False) -> Told:
        """One answer, by a clock that does not count what the machine does beside it.

        Args:
            stream: Whether it is asked for as a stream.
            patient: The clock also stands still until the first server has got the request and, where the second says
                something before it hangs, until that has been passed on.
        """
        return run(self.ask(stream=stream), held=lambda: patient and self._is_coming(stream))

    def _is_coming(self, stream: bool) -> bool:
        says_something = stream and self.b.script[-1] == "hang_in_stream"
        return not self.a.asked or bool(says_something and self.b.asked and len(self.sent) <= 1)

    async def ask(self, *, stream: bool = False) -> Told:
        body = json.dumps({"messages": [{"role": "user", "content": QUESTION}], "stream": stream}).encode()
        sent: list[dict[str, Any]] = []
        self.sent = sent
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": body, "more_body": False})

        async def send(message: Any) -> None:
            sent.append(message)

        now = asyncio.get_running_loop().time
        began = now()
        await self._app(_SCOPE, messages.get, send)
        seconds = now() - began
        said = b"".join(message.get("body", b"") for message in sent).decode()
        return Told(sent[0]["status"], said, seconds)

    def answered_by(self, name: str) -> int:
        return sum(attempt.provider == name and attempt.outcome == "answered" for attempt in self.attempts)


@contextmanager
def failing(
    *, deadline: float, a_first_token: float, failures: int = 10, places: int | None = None
) -> Iterator[Failing]:
    with ExitStack() as stack:
        servers = [stack.enter_context(upstream()) for _ in range(2)]
        yield Failing(servers, deadline=deadline, a_first_token=a_first_token, failures=failures, places=places)
