"""The model card of a release's adapter, in Markdown, from the data that MLflow recorded at registration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.release.manifest import Manifest
from sluice.release.mlflow_registry import ADAPTER_MODEL, finished_run

_TRAINING = "training_"


def model_card(workspace: Workspace, manifest: Manifest) -> str:
    """SluiceError when the release has no adapter, or MLflow has no run of it."""
    if manifest.adapter is None:
        raise SluiceError(f"{manifest.id}: has no adapter, so there is no model to describe")
    run = finished_run(workspace, manifest)
    if run is None:
        raise SluiceError(
            f"{manifest.id}: MLflow has no finished run of it",
            remedy="it is recorded when it is promoted: `make release`",
        )
    params, metrics, tags = run.data.params, run.data.metrics, run.data.tags
    chat = manifest.models["chat"]
    version = tags.get("adapter_version", "")
    made = {name: params.get(f"{_TRAINING}{name}") for name in ("base_sha256", "data_digest")}
    tuned = {name.removeprefix(_TRAINING): value for name, value in params.items() if name.startswith(_TRAINING)}
    sections = [
        f"# {ADAPTER_MODEL}{f' version {version}' if version else ''}\n",
        f"Answers questions over the documents of release {manifest.id}, as an adapter of that base model alone.\n",
        "## Made of\n",
        _table(
            {
                "base model": chat.source,
                "base sha256": chat.sha256,
                "base licence": chat.licence,
                "trained on sha256": made["base_sha256"],
                "adapter sha256": manifest.adapter.sha256,
                "data": manifest.data.digest,
                "examples": made["data_digest"],
                "commit": manifest.commit,
                "MLflow run": run.info.run_id,
            }
        ),
        "## Training\n",
        _table({name: tuned[name] for name in sorted(tuned) if name not in made}),
        _table({name: _number(metrics[name]) for name in sorted(metrics) if name.startswith("train_")}),
        "## Evaluation\n",
        f"On the cases {manifest.evaluation.cases_digest[:12]}, which it never saw, through the whole application.\n",
        _table({name: _number(metrics[name]) for name in sorted(manifest.evaluation.metrics) if name in metrics}),
        "## Limits\n",
        "It learned to answer from the passages it is given and to decline where they say nothing. Without passages "
        "it knows no more than its base, and it shares the licence and the faults of that.\n",
    ]
    return "\n".join(section for section in sections if section)


def _table(values: Mapping[str, Any]) -> str:
    rows: Iterable[str] = (f"| {name} | {value} |" for name, value in values.items() if value not in (None, ""))
    lines = list(rows)
    return "\n".join(["| what | value |", "|---|---|", *lines, ""]) if lines else ""


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
