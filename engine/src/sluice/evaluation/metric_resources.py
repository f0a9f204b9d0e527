"""Resources of metrics, opened and closed with a run: the embedder, and the judge where one is configured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from sluice.core.errors import SluiceError
from sluice.evaluation.metric_batching import MetricBatcher
from sluice.evaluation.metrics.judge import Judge
from sluice.evaluation.output import Metric
from sluice.evaluation.registry import MetricResources, make_metrics
from sluice.llm.chat import ChatProvider
from sluice.retrieval.embedder import Embedder, Vectors
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runtime import open_model

PROMPT = "judge"  # the name of the prompt, and of the role that answers it
Connect: TypeAlias = Callable[[], ChatProvider]


@contextmanager
def open_metrics(
    bundle: ReleaseBundle, *, around_judge: Callable[[Connect], ChatProvider] = lambda connect: connect()
) -> Iterator[tuple[Metric, ...]]:
    """The metrics of a run, in the order of the registry; the judge comes last, where the role `judge` is not empty.

    `around_judge` gets a function that connects to the judge's provider, and gives what is asked in its place: a
    response cache, for one. The embedder is loaded at the first text that is embedded.
    """
    with ExitStack() as opened:
        embedder = _LazyEmbedder(bundle.embedder, opened)
        vectors = MetricBatcher(embedder.embed)
        judge = open_judge(bundle, opened, around=around_judge)
        yield make_metrics(MetricResources(vectors, judge))


def open_judge(
    bundle: ReleaseBundle, opened: ExitStack, *, around: Callable[[Connect], ChatProvider] = lambda connect: connect()
) -> Judge | None:
    """The judge, or None where the role `judge` is empty. A local model that it starts ends with `opened`."""
    specs = bundle.providers.judge
    if not specs:
        return None
    if PROMPT not in bundle.prompts:
        raise SluiceError(
            f"release {bundle.release}: it has a judge, but no prompt {PROMPT!r}",
            remedy=f"add prompts/{PROMPT}.prompt.yml, or empty `judge` in config/providers.yaml",
        )

    def connect() -> ChatProvider:
        # A local judge is the base model: the adapter was taught to answer, not to judge.
        return opened.enter_context(open_model(replace(bundle, adapter=None), PROMPT))

    return Judge(
        around(connect),
        bundle.prompts[PROMPT],
        by=", ".join(f"{spec.name}/{spec.model}" for spec in specs),
        seconds=bundle.service.llm.timeout_seconds,
        # More would wait in the provider's own queue, and fail when that takes too long.
        concurrency=specs[0].max_concurrency,
    )


class _LazyEmbedder:
    def __init__(self, model: Path, opened: ExitStack) -> None:
        self._model = model
        self._opened = opened
        self._embedder: Embedder | None = None

    def embed(self, texts: list[str]) -> Vectors:
        if self._embedder is None:
            self._embedder = self._opened.enter_context(Embedder(self._model))
        return self._embedder.embed(texts)
