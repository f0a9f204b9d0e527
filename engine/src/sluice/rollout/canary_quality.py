"""Compares the answers of canary and stable over HTTP, as `sluice eval` does, with metrics that need only an answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sluice.core.errors import SluiceError
from sluice.data.rows import Row
from sluice.evaluation.asked_rows import asking_order, spread
from sluice.evaluation.comparison import BUILT_IN
from sluice.evaluation.registry import METRICS, Output, make_metrics
from sluice.evaluation.response_cache import NotRecordedError
from sluice.evaluation.runner import run_cases
from sluice.evaluation.sequential import SequentialComparison
from sluice.rollout.chat_stream import PATH, RELEASE_HEADER, ChatStream, lines_of, request, request_body
from sluice.serving.answer import first_words

if TYPE_CHECKING:
    from requests import Response

    from sluice.evaluation.comparison_policy import ComparisonPolicy
    from sluice.evaluation.comparison_result import Comparison

# What a metric may need that an answer over HTTP does not bring.
_NEEDS = {
    "passages": "what the search found",
    "model": "a model beside the answer",
    "clock": "times, which the load stage judges",
    "price": "the price of an answer",
}


@dataclass
class ReleaseClient:
    """A release asked over HTTP. A longer answer than `seconds` fails; `releases` collects all that answered."""

    url: str
    decline: str
    seconds: float
    key: str = field(default="", repr=False)
    releases: set[str] = field(default_factory=set)

    def ask(self, conversation: Sequence[Mapping[str, str]], *, stream: bool) -> Output:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        body = request_body(conversation) | {"stream": stream}
        body |= {"stream_options": {"include_usage": True}} if stream else {}
        began = time.perf_counter()
        try:
            url = self.url.rstrip("/") + PATH
            with request(url, self.seconds, body=body, headers=headers, stream=stream) as response:
                if response.status_code != 200:
                    raise SluiceError(f"{self.url}: status {response.status_code}")
                reply = self._streamed(response) if stream else json.loads(response.content)
        except OSError as error:
            raise SluiceError(f"{self.url}: no answer: {type(error).__name__}") from None
        if not (release := response.headers.get(RELEASE_HEADER)):
            raise SluiceError(f"{self.url}: an answer without the header {RELEASE_HEADER}")
        self.releases.add(release)
        text = str(reply["choices"][0]["message"]["content"])
        return Output(
            text=text,
            declined=first_words(text) == first_words(self.decline) or bool(reply.get("declined")),
            citations=tuple(str(citation["document"]) for citation in reply["citations"]),
            latency_ms=(time.perf_counter() - began) * 1000,
            prompt_tokens=int(reply["usage"]["prompt_tokens"]),
            completion_tokens=int(reply["usage"]["completion_tokens"]),
            steps=tuple(reply.get("steps") or ()),
        )

    def _streamed(self, response: Response) -> dict[str, Any]:
        """Return the reply that the chunks of a whole stream make."""
        stream = ChatStream(self.seconds)
        any(map(stream.feed, lines_of(response)))  # until the answer is over
        if stream.fault:
            raise SluiceError(f"{self.url}: {stream.fault}")
        reply: dict[str, Any] = {key: value for chunk in stream.chunks for key, value in chunk.items()}
        pieces = [one["delta"].get("content") or "" for chunk in stream.chunks for one in chunk["choices"]]
        return reply | {"choices": [{"message": {"content": "".join(pieces)}}]}


@dataclass
class _SampledRelease:
    """A release that is asked until the canary has failed a question, which both sides share in `failed`."""

    served: ReleaseClient
    failed: list[str]
    streamed: frozenset[str]
    is_canary: bool

    async def ask(self, row: Row, *, trial: int) -> Output:
        del trial
        if self.failed:
            raise NotRecordedError("not asked any more: the canary had failed")
        try:
            return await asyncio.to_thread(self.served.ask, row.conversation, stream=row.id in self.streamed)
        except Exception as error:
            if self.is_canary:
                self.failed.append(f"the canary failed on {row.id!r}: {getattr(error, 'message', repr(error))}")
            raise


def sample(rows: Sequence[Row], cases: int) -> list[Row]:
    """Return rows to ask, half of them unanswerable as far as there are, evenly spread."""
    if not 0 < cases < len(rows):
        return list(rows)
    kinds = [[row for row in rows if row.answerable], [row for row in rows if not row.answerable]]
    fewer, more = sorted(kinds, key=len)
    some = min(len(fewer), cases // 2)
    chosen = {row.id for kind, limit in ((fewer, some), (more, cases - some)) if limit for row in spread(kind, limit)}
    return [row for row in rows if row.id in chosen]


def compare_served(
    stable: ReleaseClient,
    canary: ReleaseClient,
    rows: Sequence[Row],
    policy: ComparisonPolicy,
    *,
    concurrency: int,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Comparison:
    """Ask both releases every row at the same time, every second one as a stream, until the verdict is decided.

    The first question that the canary fails ends the comparison, which is then not green."""
    metrics = [metric for metric in make_metrics() if metric.needs == "answer"]
    known = {metric.name for metric in (*metrics, *BUILT_IN)}
    judged = policy.model_copy(update={"metrics": {n: one for n, one in policy.metrics.items() if n in known}})
    # Those that decide about a pull request and a release, with what they need.
    needs = {name: _NEEDS[metric.needs] for name, metric in METRICS.items() if name not in known}
    deciding = [name for name, one in policy.metrics.items() if one.decides != "never" and name not in known]
    left_out = tuple(f"{name} needs {needs.get(name, _NEEDS['model'])}" for name in deciding)
    failed: list[str] = []
    rows = asking_order(rows)
    streamed = frozenset(row.id for row in rows[::2])
    done = 0

    def count(*_: int) -> None:
        nonlocal done
        done += 1
        on_progress(done, 2 * len(rows))

    async def both(asked: Sequence[Row]) -> list[list[dict[str, Any]]]:
        sides = (_SampledRelease(side, failed, streamed, side is canary) for side in (stable, canary))
        runs = (run_cases(asked, one, metrics, concurrency=concurrency, on_progress=count) for one in sides)
        return list(await asyncio.gather(*runs))

    def ask(asked: Sequence[Row]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        base, head = asyncio.run(both(asked))
        if not failed:
            _require_one_release("stable", stable, base)
            _require_one_release("canary", canary, head)
        return base, head

    found, _, _ = SequentialComparison(metrics, judged, len(rows)).ask_until_decided(rows, ask)
    return replace(found, left_out=left_out, reasons=tuple(failed) or found.reasons)


def _require_one_release(name: str, side: ReleaseClient, cases: Sequence[Mapping[str, Any]]) -> None:
    if not side.releases:
        (error, times), *_ = Counter(next(iter(case["errors"].values())) for case in cases).most_common(1)
        raise SluiceError(
            f"{side.url}: nobody answered for {name}: {times} of {len(cases)} questions ended with {error}",
            remedy="if the live release is down, `sluice deploy --over-dead-stable` replaces it without a comparison",
        )
    if len(side.releases) != 1:
        found = ", ".join(sorted(side.releases))
        raise SluiceError(
            f"{side.url}: {found} answered for {name}, where one release was expected",
            remedy="the Services of stable and canary must each select the pods of one release",
        )
