"""The `train` stage: data/train.jsonl and build/index -> build/adapter. Runs as `sluice train`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from sluice.core.digests import digest_of
from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import load_rows
from sluice.extras.finetune.dataset import Example, build_examples
from sluice.extras.finetune.trainer import TrainingPaths, train
from sluice.extras.finetune.training_parameters import TrainingParameters, require_releasable
from sluice.extras.finetune.training_record import TrainingResult
from sluice.extras.finetune.training_tracking import log_training
from sluice.llm.model_files import Models, PinnedFiles, ensure, ensure_source, load_models
from sluice.prompts import load_prompt
from sluice.retrieval.embedder import Embedder
from sluice.serving.settings import ServiceSettings

_Files = TypeVar("_Files", bound=PinnedFiles)


def run(
    workspace: Workspace,
    *,
    parameters: TrainingParameters | None = None,
    rows: Path | None = None,
    index: Path | None = None,
    base: Path | None = None,
    out: Path | None = None,
    checkpoints: Path | None = None,
    track: bool = False,
) -> TrainingResult:
    """Trains the chat model's `weights`, or the very file that is served: the adapter learns to fix its answers.

    `parameters` are by default those of pipelines/params.yaml. Every path has its default in the workspace: `rows`
    data/train.jsonl, `index` build/index, `base` the chat model of config/models.yaml (else a GGUF file or a folder of
    safetensors), `out` build/adapter, `checkpoints` .sluice/checkpoints. With `track` the run is logged to MLflow.
    Under torchrun, each process calls this with the same arguments.
    """
    progress = StageReporter("train")
    parameters = parameters or load_params(workspace.params, "train", TrainingParameters)
    if out is None:
        require_releasable(parameters)
    paths, examples, asked = prepare(
        workspace, parameters, rows=rows, index=index, base=base, out=out, checkpoints=checkpoints
    )
    result = train(
        paths,
        examples,
        parameters,
        lambda step, steps, loss: progress.report(step, steps, f"loss {loss:.2f}"),
        rows=asked,
    )
    if track and result.exports:  # only the first process of a group has written any
        print(f"MLflow run {log_training(workspace, paths.out)}")
    return result


def prepare(
    workspace: Workspace,
    parameters: TrainingParameters,
    *,
    rows: Path | None = None,
    index: Path | None = None,
    base: Path | None = None,
    out: Path | None = None,
    checkpoints: Path | None = None,
) -> tuple[TrainingPaths, list[Example], dict[str, str]]:
    """Arguments of `train`. Models are fetched where they are missing."""
    models = load_models(workspace.config / "models.yaml")
    decline = load_settings(workspace.config / "service.yaml", ServiceSettings).decline
    prompt = load_prompt(workspace.prompts / "finetune.prompt.yml", roles=Models.roles())
    asked = load_rows(rows or workspace.data / "train.jsonl")
    with Embedder(fetched_once(ensure, models.embed, workspace.cache)) as embedder:
        examples = build_examples(asked, index or workspace.build / "index", embedder, prompt, decline, parameters)
    served = fetched_once(ensure, models.chat, workspace.cache)
    weights = served
    if files := models.chat.weights:
        weights = fetched_once(ensure_source, files, workspace.cache)
        if any(name.endswith(weights.suffix) for name in files.files):  # in several files: its digest is of them all
            weights = weights.parent
    paths = TrainingPaths(
        base=base or weights,
        served=served,
        out=out or workspace.build / "adapter",
        checkpoints=checkpoints or workspace.state / "checkpoints",
    )
    return paths, examples, {row.id: digest_of(row.as_dict()) for row in asked}


def fetched_once(fetch: Callable[[_Files, Path], Path], files: _Files, cache: Path) -> Path:
    """Of the processes of a machine one fetches, and the others wait for it; each looks at the digests by itself."""
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "fetch.lock"):
        if not all(path.exists() for path in files.cached(cache)):
            fetch(files, cache)
    return fetch(files, cache)
