"""Cached metric results: an evaluation without changes embeds no text and loads no classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import sluice.data
import sluice.evaluation
from sluice.core.digests import digest_of, digest_of_code, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.extras import HERE, packages
from sluice.core.registry import load_optional
from sluice.data.rows import Row
from sluice.evaluation.output import Metric, Output
from sluice.evaluation.registry import METRICS
from sluice.evaluation.response_cache import ResponseCache
from sluice.evaluation.scoring import run_metrics
from sluice.serving.release_parts import ReleaseBundle


class RecordedScores:
    """In place of scoring.run_metrics. `digest`: what decides beside row, output and the metrics' versions.

    Results with an error among them are not kept.
    """

    def __init__(self, cache: ResponseCache, metrics: Sequence[Metric], digest: str) -> None:
        self._cache = cache
        self._metrics = metrics
        self._digest = digest_of([digest, [(metric.name, metric.version) for metric in metrics]])

    async def __call__(self, row: Row, output: Output) -> dict[str, Any]:
        said = asdict(replace(output, recorded=False))
        key = digest_of({"scores": self._digest, "row": row.as_dict(), "output": said})
        if (kept := self._cache.get(key)) is not None:
            return kept
        found = await run_metrics(row, output, self._metrics)
        if not found["errors"]:
            self._cache.put(key, found)
        return found


def scores_digest(bundle: ReleaseBundle, model_digest: str) -> str:
    """What decides about scores beside the cases."""
    embedder = digest_of_file(bundle.embedder)
    return digest_of({"metrics": metrics_digest(), "embedder": embedder, "model": model_digest})


def metrics_digest() -> str:
    """Digest over the metrics' code and libraries: results with the same one were scored alike."""
    mine = load_optional(METRICS.packages[-1])
    own = (sluice.evaluation, sluice.data, *([mine] if mine else []))
    of_extras = (HERE / package.split(".")[-2] for package in packages("metrics"))
    code = digest_of_code(*(Path(package.__path__[0]) for package in own), *of_extras)
    libraries = {name: _version(name, metric) for metric, one in METRICS.items() for name in one.libraries}
    return digest_of({"code": code, "libraries": libraries})


def _version(library: str, metric: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        raise SluiceError(
            f"the metric {metric!r} names a library that is not installed: {library}",
            remedy="install it (engine/requirements), or correct `libraries` of the metric",
        ) from None
