"""Canary against stable by their answers: a sample of the evaluation cases asked of both, compared case by case.

The comparison is that of `sluice eval`, with the numbers under `comparison:` in config/gates.yaml. What both are asked
goes over HTTP, so only what an answer shows is judged; what it rests on (the five best passages) was judged before the
release. Runs as `sluice canary quality`, the Job of k8s/analysis/quality.yaml.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from sluice.app.citations import words
from sluice.core.errors import SluiceError
from sluice.data.rows import Row
from sluice.evaluation.comparison import BUILT_IN, compare
from sluice.evaluation.metrics import METRICS
from sluice.evaluation.output import Output
from sluice.evaluation.runner import run_cases
from sluice.rollout.http import connect
from sluice.rollout.stream import PATH, RELEASE_HEADER

if TYPE_CHECKING:
    from sluice.evaluation.findings import Comparison
    from sluice.evaluation.policy import ComparisonPolicy

# What an answer alone shows, without a model of our own beside it. Times are judged by the load stage.
JUDGED = (
    "exact_match",
    "f1",
    "contains_answer",
    "decline_accuracy",
    "false_declines",
    "citation_correctness",
    "contains",
    "not_contains",
    "regex",
    "json_schema",
    "answer_words",
)


@dataclass
class Served:
    """A release as the runner of the evaluation asks it. `decline`: how it says that it does not know; `seconds`: an
    answer that takes longer counts as failed; `releases`: all that have answered."""

    url: str
    decline: str
    seconds: float
    key: str = field(default="", repr=False)
    releases: set[str] = field(default_factory=set)

    async def ask(self, row: Row, *, trial: int) -> Output:
        """Any exception makes this case a failed one."""
        del trial
        return await asyncio.to_thread(self._ask, row.question)

    def _ask(self, question: str) -> Output:
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        body = json.dumps({"model": "sluice", "messages": [{"role": "user", "content": question}]})
        connection = connect(self.url, self.seconds)
        began = time.perf_counter()
        try:
            connection.request("POST", PATH, body=body.encode(), headers=headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            raise SluiceError(f"{self.url}: no answer: {type(error).__name__}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise SluiceError(f"{self.url}: status {response.status}")
        if not (release := response.headers.get(RELEASE_HEADER)):
            raise SluiceError(f"{self.url}: an answer without the header {RELEASE_HEADER}")
        self.releases.add(release)
        return _output(json.loads(content), self.decline, (time.perf_counter() - began) * 1000)


def _output(reply: Any, decline: str, latency_ms: float) -> Output:
    text = str(reply["choices"][0]["message"]["content"])
    return Output(
        text=text,
        declined=words(text) == words(decline),
        retrieved=(),
        citations=tuple(str(citation["document"]) for citation in reply["citations"]),
        latency_ms=latency_ms,
        ttft_ms=None,
        prompt_tokens=int(reply["usage"]["prompt_tokens"]),
        completion_tokens=int(reply["usage"]["completion_tokens"]),
    )


def compare_served(
    stable: Served,
    canary: Served,
    rows: Sequence[Row],
    policy: ComparisonPolicy,
    *,
    concurrency: int,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Comparison:
    """Asks both releases all `rows`, at the same time, so that what slows one slows the other.

    SluiceError when a side was not one release: several answered under its address, or none did.
    """
    metrics = [metric for metric in METRICS if metric.name in JUDGED]
    known = {metric.name for metric in (*metrics, *BUILT_IN)}
    judged = policy.model_copy(update={"metrics": {n: one for n, one in policy.metrics.items() if n in known}})
    done = 0

    def count(*_: int) -> None:
        nonlocal done
        done += 1
        on_progress(done, 2 * len(rows))

    async def both() -> list[list[dict[str, Any]]]:
        sides = (
            run_cases(rows, side, metrics, concurrency=concurrency, on_progress=count) for side in (stable, canary)
        )
        return list(await asyncio.gather(*sides))

    base, head = asyncio.run(both())
    for name, side in (("stable", stable), ("canary", canary)):
        if len(side.releases) != 1:
            found = ", ".join(sorted(side.releases)) or "nobody"
            raise SluiceError(
                f"{side.url}: {found} answered for {name}, where one release was expected",
                remedy="the Services of stable and canary must each select the pods of one release",
            )
    return compare(base, head, metrics, judged)
