"""The `train` stage: data/train.jsonl and build/index -> build/adapter. Runs as `sluice train`."""

from __future__ import annotations

from sluice.app.settings import ServiceSettings
from sluice.core.params import load_params
from sluice.core.progress import Reporter
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import load_rows
from sluice.llm.models import Models, ensure, load_models
from sluice.prompts import load_prompt
from sluice.retrieval.embedder import Embedder
from sluice.training.dataset import build_examples
from sluice.training.lora import TrainingResult, train
from sluice.training.parameters import TrainingParameters


def run(workspace: Workspace) -> TrainingResult:
    """Trains on the file that is served, so that the adapter learns to mend just that model's answers."""
    progress = Reporter("train")
    parameters = load_params(workspace.params, "train", TrainingParameters)
    models = load_models(workspace.config / "models.yaml")
    decline = load_settings(workspace.config / "service.yaml", ServiceSettings).decline
    prompt = load_prompt(workspace.prompts / "finetune.prompt.yml", roles=Models.roles())
    rows = load_rows(workspace.data / "train.jsonl")
    with Embedder(ensure(models.embed, workspace.cache)) as embedder:
        examples = build_examples(rows, workspace.build / "index", embedder, prompt, decline, parameters)
    return train(
        ensure(models.chat, workspace.cache),
        examples,
        parameters,
        workspace.build / "adapter",
        lambda step, steps, loss: progress.report(step, steps, f"loss {loss:.2f}"),
    )
