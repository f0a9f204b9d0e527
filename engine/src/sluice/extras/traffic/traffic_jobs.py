"""`sluice data drift` and `sluice data harvest`: connect recorded traffic with the data of a checkout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sluice.core.atomic_files import read_jsonl
from sluice.core.errors import SluiceError
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.data_policy import PrivacyPolicy
from sluice.data.rows import load_corpus, load_rows
from sluice.extras.traffic.drift import DriftReport, Embed, TrafficBaseline, compare
from sluice.extras.traffic.harvest import HarvestResult, HarvestSettings
from sluice.extras.traffic.harvest import harvest as propose
from sluice.extras.traffic.traffic_sources import RecordedTraffic, read_here, read_traffic


def recorded(workspace: Workspace, place: str) -> RecordedTraffic:
    """The traffic at a path or address; without one, that of this machine."""
    from sluice.serving.telemetry.settings import TelemetrySettings

    settings = load_settings(workspace.config / "telemetry.yaml", TelemetrySettings)
    experiment = settings.traces.mlflow.experiment
    return read_traffic(place, experiment=experiment) if place else read_here(workspace, experiment=experiment)


def drift(workspace: Workspace, traffic: RecordedTraffic) -> DriftReport:
    """The traffic against data/eval.jsonl; with build/index, build/evaluation and the embedder where they are."""
    rows = load_rows(workspace.data / "eval.jsonl")
    cases = workspace.build / "evaluation" / "cases.jsonl"
    with embedder(workspace) as embed:
        return compare(
            TrafficBaseline(
                rows,
                _similarities(workspace.build / "index", [row.question for row in rows], embed),
                read_jsonl(cases) if cases.is_file() else (),
            ),
            traffic.exchanges,
            embed,
        )


def harvest(
    workspace: Workspace, traffic: RecordedTraffic, policy: PrivacyPolicy, settings: HarvestSettings
) -> HarvestResult:
    """Proposals for what the traffic asked in vain, against the rows and the corpus of data/."""
    rows = [row for name in ("train.jsonl", "eval.jsonl") for row in load_rows(workspace.data / name)]
    corpus = load_corpus(workspace.data / "corpus")
    with embedder(workspace) as embed:
        return propose(traffic.exchanges, rows, corpus, policy, settings, embed)


@contextmanager
def embedder(workspace: Workspace) -> Iterator[Embed | None]:
    """What makes vectors of texts; None where its model is not on this machine and cannot be brought."""
    from sluice.llm.model_files import ensure, load_models
    from sluice.retrieval.embedder import Embedder

    try:
        model = ensure(load_models(workspace.config / "models.yaml").embed, workspace.cache)
    except SluiceError:
        yield None
        return
    with Embedder(model) as opened:
        yield opened.embed


def _similarities(index: Path, questions: list[str], embed: Embed | None) -> list[float]:
    if embed is None or not (index / "index.json").is_file():
        return []
    from sluice.retrieval.index_files import read_index

    _, _, vectors = read_index(index)
    return [float(value) for value in (embed(questions) @ vectors.T).max(axis=1)]
