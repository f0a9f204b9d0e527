"""The model card of a release's adapter, in Markdown, from the data that MLflow recorded at registration."""

from __future__ import annotations

from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.html_theme import page_environment
from sluice.core.workspace import Workspace
from sluice.release.manifest import Manifest, load_judgement
from sluice.release.mlflow_registry import ADAPTER_MODEL, finished_run, open_registry

_TRAINING = "training_"


def model_card(workspace: Workspace, manifest: Manifest) -> str:
    """SluiceError when the release has no adapter, or MLflow has no run of it."""
    if manifest.adapter is None:
        raise SluiceError(f"{manifest.id}: has no adapter, so there is no model to describe")
    judgement = load_judgement(workspace.releases / manifest.id)
    with open_registry(workspace) as client:
        run = client.get_run(run_id) if (run_id := finished_run(client, judgement)) else None
    if run is None:
        raise SluiceError(
            f"{manifest.id}: MLflow has no finished run of it",
            remedy="it is recorded when it is promoted: `make release`",
        )
    params, metrics, tags = run.data.params, run.data.metrics, run.data.tags
    chat = manifest.models["chat"]
    made = {name: params.get(f"{_TRAINING}{name}") for name in ("base_sha256", "data_digest")}
    tuned = {name.removeprefix(_TRAINING): value for name, value in params.items() if name.startswith(_TRAINING)}
    template = page_environment(Path(__file__).parent / "templates", escape=False).get_template("model_card.md.j2")
    card: str = template.render(
        name=ADAPTER_MODEL,
        version=tags.get("adapter_version", ""),
        release=manifest.id,
        made={
            "base model": chat.source,
            "base sha256": chat.sha256,
            "base licence": chat.licence,
            "trained on sha256": made["base_sha256"],
            "adapter sha256": manifest.adapter.sha256,
            "data": manifest.data.digest,
            "examples": made["data_digest"],
            "commit": judgement.commit,
            "MLflow run": run.info.run_id,
        },
        parameters={name: tuned[name] for name in sorted(tuned) if name not in made},
        training={name: _number(metrics[name]) for name in sorted(metrics) if name.startswith("train_")},
        cases=judgement.evaluation.cases_digest[:12],
        evaluation={n: _number(metrics[n]) for n in sorted(judgement.evaluation.metrics) if n in metrics},
    )
    return card + "\n"


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
