"""Resources of metrics, opened and closed with a run: the embedder, and the judge where one is configured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache as once

from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.evaluation.metric_batching import MetricBatcher
from sluice.evaluation.output import Metric
from sluice.evaluation.registry import MetricResources, make_metrics
from sluice.evaluation.response_cache import ResponseCache
from sluice.retrieval.embedder import Embedder
from sluice.serving.release_parts import ReleaseBundle


@contextmanager
def open_metrics(
    bundle: ReleaseBundle, cache: ResponseCache | None = None, *, replay: bool = False
) -> Iterator[tuple[Metric, ...]]:
    """Opens the metrics of a run. The embedder is loaded at the first text that is embedded."""
    with ExitStack() as opened:
        embedder = once(lambda: opened.enter_context(Embedder(bundle.embedder)))
        vectors = MetricBatcher(lambda texts: embedder().embed(texts))
        yield make_metrics(MetricResources(vectors, _judge(bundle, opened, cache, replay=replay)))


def _judge(bundle: ReleaseBundle, opened: ExitStack, cache: ResponseCache | None, *, replay: bool) -> Metric | None:
    if not bundle.providers.judge:
        return None
    open_judge = next(iter(hooks("judge").values()), None)
    if open_judge is None:
        raise SluiceError(
            f"release {bundle.release}: it has a judge, but this project has left out the extra `calibration`",
            remedy="empty `judge` in config/providers.yaml, or revert the commit that took the extra out",
        )
    judge: Metric = open_judge(bundle, opened, cache, replay=replay)
    return judge
