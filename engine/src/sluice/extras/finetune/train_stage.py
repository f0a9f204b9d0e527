"""The `train` stage: data/train.jsonl and build/index -> build/adapter. Its results appear whole at the end or not at
all; a killed run resumes from its last checkpoint. engine/docs/reference/training.md has the parameters."""

from __future__ import annotations

import math
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from sluice.core.digests import digest_of, digest_of_code
from sluice.core.errors import SluiceError
from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import load_rows
from sluice.extras.finetune.base_model import (
    ProcessGroup,
    computed_dtype,
    digest_of_base,
    joined,
    load_base,
    parsed_once,
    quiet,
    require_training_packages,
    tokenise,
    world_size,
)
from sluice.extras.finetune.dataset import Example, build_examples
from sluice.extras.finetune.exports import EXPORTS, BaseModelShape, TrainingOutput, read_shape, require_known
from sluice.extras.finetune.training_parameters import ExportKind, TrainingParameters, require_releasable
from sluice.extras.finetune.training_record import describe_hardware, log_training, write_records
from sluice.llm.model_files import Models, PinnedFiles, ensure, ensure_source, load_models
from sluice.prompts import load_prompt
from sluice.retrieval.embedder import Embedder
from sluice.serving.settings import ServiceSettings

if TYPE_CHECKING:
    from sluice.extras.finetune.sft_trainer import Progress, Tokens

_Files = TypeVar("_Files", bound=PinnedFiles)
_NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "gloo")


@dataclass(frozen=True)
class TrainingPaths:
    """`base` is trained; `served` is the GGUF file that an adapter is served with, often the same."""

    base: Path
    served: Path
    out: Path
    checkpoints: Path


def run(
    workspace: Workspace,
    *,
    parameters: TrainingParameters | None = None,
    base: Path | None = None,
    out: Path | None = None,
    checkpoints: Path | None = None,
    track: bool = False,
) -> None:
    """Train the chat model's `weights`, or the served file itself: the adapter then learns to fix its answers. Paths
    default to the workspace's; `base` is a GGUF file or a folder of safetensors; `track` logs to MLflow. Under
    torchrun, each process calls this with the same arguments."""
    progress = StageReporter("train")
    parameters = parameters or load_params(workspace.params, "train", TrainingParameters)
    if out is None:
        require_releasable(parameters)
    models = load_models(workspace.config / "models.yaml")
    decline = load_settings(workspace.config / "service.yaml", ServiceSettings).decline
    prompt = load_prompt(workspace.prompts / "finetune.prompt.yml", roles=Models.roles())
    asked = load_rows(workspace.data / "train.jsonl")
    with Embedder(fetched_once(ensure, models.embed, workspace.cache)) as embedder:
        examples = build_examples(asked, workspace.build / "index", embedder, prompt, decline, parameters)
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
    exports = train(
        paths,
        examples,
        parameters,
        lambda step, steps, loss: progress.report(step, steps, f"loss {loss:.2f}"),
        rows={row.id: digest_of(row.as_dict()) for row in asked},
    )
    if track and exports:  # only the first process of a group has written any
        print(f"MLflow run {log_training(workspace, paths.out)}")


def fetched_once(fetch: Callable[[_Files, Path], Path], files: _Files, cache: Path) -> Path:
    """Let one process of a machine fetch while the others wait; each checks the digests itself."""
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "fetch.lock"):
        if not all(path.exists() for path in files.cached(cache)):
            fetch(files, cache)
    return fetch(files, cache)


def train(
    paths: TrainingPaths,
    examples: Sequence[Example],
    params: TrainingParameters,
    on_progress: Progress,
    *,
    rows: Mapping[str, str] | None = None,
) -> dict[ExportKind, Path]:
    """Train, and write `params.exports`, training.json and loss.csv; return the exports by their form.

    Of several processes only the first reports and writes.
    """
    require_training_packages()
    if not examples:
        raise SluiceError("no training examples", remedy="add rows to data/train.jsonl")
    from sluice.extras.finetune.sft_trainer import require_shareable  # torch, which the serving set lacks

    require_shareable(params, world_size())
    with _faults_named(), joined(params.device) as group:
        return _learn(paths, examples, params, on_progress, group, rows or {})


def _learn(
    paths: TrainingPaths,
    examples: Sequence[Example],
    params: TrainingParameters,
    on_progress: Progress,
    group: ProcessGroup,
    rows: Mapping[str, str],
) -> dict[ExportKind, Path]:
    # torch, which the serving set lacks
    from sluice.extras.finetune.sft_trainer import arguments_of, clear_checkpoints, fit, loss_of

    params = params.model_copy(update={"dtype": group.agreed(computed_dtype(params.dtype, group.device))})
    arguments = arguments_of(params, group)
    with parsed_once():
        shape = _shape(paths.served, params)
        base = load_base(paths.base, params, group)
    learned, held, skipped = _tokenised(examples, *base, params, group)
    if params.epochs:
        enough = math.ceil(params.epochs * len(learned) / params.examples_a_step)
        params = params.model_copy(update={"steps": min(params.steps, enough)})
    if group.leads:
        passes = params.steps * params.examples_a_step / len(learned)
        print(f"train: {params.steps} steps, {passes:.1f} passes over {len(learned)} examples", file=sys.stderr)
    base_sha256 = group.agreed(digest_of_base(paths.base) if group.leads else "")
    # All that decides the weights, but not how they are written.
    tuned = params.model_dump(mode="json", exclude={"checkpoint_every", "exports", "threads", "device"})
    key = digest_of([base_sha256, learned, held, tuned, digest_of_code(Path(__file__).parent)])
    folder = paths.checkpoints / key[:16]
    arguments.output_dir = str(folder)
    trainer, run = fit(base, learned, held, params, arguments, on_progress, group)
    loss = loss_of(trainer.model, learned[0])
    exports: dict[ExportKind, Path] = {}
    with _draft(paths.out, leads=group.leads) as draft:
        with quiet():
            trainer.save_model(str(draft / "trained"))  # by every process: with FSDP each has a shard
        del trainer, base  # an export loads the model anew
        if group.leads:
            trained = TrainingOutput(paths.base, paths.served, shape, params, draft / "trained", learned[0], loss)
            made = {kind: EXPORTS[kind](trained, draft) for kind in params.exports}
            write_records(
                paths.out,
                run,
                examples,
                params,
                rows=rows,
                base_sha256=base_sha256,
                held=len(held),
                skipped=skipped,
                passes=round(run.answers / len(learned), 1),
                hardware=describe_hardware(group.device, group.world),
                exports={kind: answer for kind, (_, answer) in made.items()},
            )
            for kind, (written, _) in made.items():  # the records come before the first export has its name
                final = paths.out / written.name
                if final.is_dir():
                    shutil.rmtree(final)
                exports[kind] = written.replace(final)
            clear_checkpoints(folder)
    return exports


def _shape(served: Path, params: TrainingParameters) -> BaseModelShape | None:
    """Return the served model's shape if an adapter is written for it; refuse now what would fail after training."""
    if "gguf" not in params.exports:
        return None
    if not served.is_file():
        raise SluiceError(f"{served}: the base model is missing", remedy="fetch it with `sluice models pull`")
    try:
        shape = read_shape(served)
    except (ValueError, LookupError) as error:
        raise SluiceError(f"{served}: not a GGUF file that can be read: {error}") from error
    require_known(shape)
    return shape


def _tokenised(
    examples: Sequence[Example], model: Any, tokenizer: Any, params: TrainingParameters, group: ProcessGroup
) -> tuple[list[Tokens], list[Tokens], int]:
    """Return examples to train on, examples to evaluate on, and the number of those longer than the context."""
    limit = min(params.max_tokens, getattr(model.config, "max_position_embeddings", params.max_tokens))
    rows = sorted({example.id for example in examples})
    kept_out = set(random.Random(params.seed).sample(rows, round(params.held_share * len(rows))))
    both: tuple[list[Tokens], list[Tokens]] = ([], [])
    for example, tokens in zip(examples, tokenise(examples, tokenizer), strict=True):
        if len(tokens["input_ids"]) <= limit:
            both[example.id in kept_out].append(tokens)
    learned, held = both
    skipped = len(examples) - len(learned) - len(held)
    if not learned:
        raise SluiceError(
            f"all {len(examples)} training examples are longer than {limit} tokens",
            remedy="raise train.max_tokens in pipelines/params.yaml, or use fewer or shorter passages",
        )
    if params.held_share and not held:
        raise SluiceError(
            f"train.held_share is {params.held_share}, but none of {len(rows)} rows could be held out",
            remedy="raise it, add rows, or set it to 0",
        )
    if skipped and group.leads:
        print(f"train: {skipped} of {len(examples)} examples are longer than {limit} tokens: left out", file=sys.stderr)
    return learned, held, skipped


@contextmanager
def _draft(out: Path, *, leads: bool) -> Iterator[Path]:
    """Give a folder in which exports are written and tried, for the block."""
    draft = out / f".draft-{os.getpid()}"
    if leads:
        for left in out.glob(".draft-*"):
            shutil.rmtree(left, ignore_errors=True)
        draft.mkdir(parents=True)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _faults_named() -> Iterator[None]:
    """Explain memory faults and lost processes, which torch raises as RuntimeError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error)
        if isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY):
            raise SluiceError(
                f"training needs more memory than there is: {said.splitlines()[0] if said else 'allocation failed'}",
                remedy="lower train.batch (and raise train.accumulate) or train.max_tokens, "
                "or set train.gradient_checkpointing",
            ) from error
        if world_size() > 1 and any(word in said for word in _LOST):
            raise SluiceError(
                "another training process died",
                remedy="read the end of its log, then run the same command: training resumes from the last checkpoint",
            ) from error
        raise
