"""Supervised fine-tuning: packed examples, the loop with its checkpoints, tested exports, records.

The adapter and its records appear whole at the end or not at all; a run that was killed goes on from its last
checkpoint. engine/docs/reference/training.md has the measurements.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.core.digests import digest_of, digest_of_code
from sluice.core.errors import SluiceError
from sluice.extras.finetune.allocator import give_back
from sluice.extras.finetune.base_model import (
    digest_of_base,
    load_base,
    parsed_once,
    require_training_packages,
    tokenise,
)
from sluice.extras.finetune.checkpoints import Checkpoints
from sluice.extras.finetune.dataset import Example
from sluice.extras.finetune.dtype import computed_dtype
from sluice.extras.finetune.exports import TrainingOutput, export
from sluice.extras.finetune.gguf_adapter import BaseModelShape, read_shape, require_known
from sluice.extras.finetune.packing import Pack, join, pack
from sluice.extras.finetune.process_group import ProcessGroup, joined
from sluice.extras.finetune.training_methods import prepare, trained_weights
from sluice.extras.finetune.training_parameters import TrainingParameters, UntrainableError
from sluice.extras.finetune.training_record import TrainingResult, describe_hardware, write_records

if TYPE_CHECKING:
    from sluice.extras.finetune.training_loop import Progress

_NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "gloo")


@dataclass(frozen=True)
class TrainingPaths:
    """`base`: what is trained; `served`: the GGUF file that an adapter is served with, often `base` itself."""

    base: Path
    served: Path
    out: Path
    checkpoints: Path


def train(
    paths: TrainingPaths,
    examples: Sequence[Example],
    params: TrainingParameters,
    on_progress: Progress,
    *,
    rows: Mapping[str, str] | None = None,
) -> TrainingResult:
    """Trains, and writes what `params.exports` names, training.json and loss.csv.

    Of several processes the first alone reports and writes."""
    require_training_packages()
    if not examples:
        raise SluiceError("no training examples", remedy="add rows to data/train.jsonl")
    with _faults_named(), joined(params.device) as group:
        return _learn(paths, examples, params, on_progress, group, rows or {})


def _learn(
    paths: TrainingPaths,
    examples: Sequence[Example],
    params: TrainingParameters,
    on_progress: Progress,
    group: ProcessGroup,
    rows: Mapping[str, str],
) -> TrainingResult:
    from sluice.extras.finetune.training_loop import fit, require_shareable  # torch, which the serving set lacks

    require_shareable(params, group)
    params = params.model_copy(update={"dtype": group.agreed(computed_dtype(params.dtype, group.device))})
    with parsed_once():
        shape = _shape(paths.served, params)
        model, tokenizer = load_base(paths.base, params, group)
    give_back()  # what loading needed beside the model
    packs, held, skipped = _packed(examples, model, tokenizer, params, group)
    if params.epochs:
        enough = math.ceil(params.epochs * len(packs) / params.packs_a_step)
        params = params.model_copy(update={"steps": min(params.steps, enough)})
    model = prepare(model, params)
    base_sha256 = group.agreed(digest_of_base(paths.base) if group.leads else "")
    checkpoints = Checkpoints(paths.checkpoints, _key(base_sha256, packs, held, params))
    run = fit(model, packs, params, on_progress if group.leads else _unheard, group, checkpoints, held=held)
    weights = trained_weights(model, leads=group.leads)
    result = TrainingResult(run, len(examples), sum(len(p.tails) for p in held), skipped)
    if group.leads:
        del model  # an export loads the model anew
        give_back()
        trained = TrainingOutput(paths.base, paths.served, shape, params, weights, packs[0])
        record = partial(
            write_records,
            result,
            base_sha256,
            examples,
            params,
            rows=rows,
            hardware=describe_hardware(group.device, group.world),
            out=paths.out,
        )
        _write(trained, result, record, paths.out)
        checkpoints.clear()
    return result


def _unheard(step: int, steps: int, loss: float) -> None:
    """Of several processes the first alone reports."""


def _shape(served: Path, params: TrainingParameters) -> BaseModelShape | None:
    """Of the served model, where an adapter shall be written for it; refused now rather than after the training."""
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


def _packed(
    examples: Sequence[Example], model: Any, tokenizer: Any, params: TrainingParameters, group: ProcessGroup
) -> tuple[list[Pack], list[Pack], int]:
    """Packs to train on, packs to evaluate on, and how many examples were longer than the context."""
    limit = min(params.max_tokens, getattr(model.config, "max_position_embeddings", params.max_tokens))
    rows = sorted({example.id for example in examples})
    kept_out = set(random.Random(params.seed).sample(rows, round(params.held_share * len(rows))))
    tokens = tokenise(examples, tokenizer)
    both = [
        pack(
            [t for e, t in zip(examples, tokens, strict=True) if (e.id in kept_out) is side],
            max_tokens=limit,
            share=params.share + 1,
        )
        for side in (False, True)
    ]
    (packs, skipped), (held, held_skipped) = both
    skipped += held_skipped
    if not packs:
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
    return join(packs, params.join, max_tokens=limit) if params.join > 1 else packs, held, skipped


def _key(base_sha256: str, packs: Sequence[Pack], held: Sequence[Pack], params: TrainingParameters) -> str:
    """Digest of all that decides the weights; how often and in what form they are written does not."""
    tuned = params.model_dump(mode="json", exclude={"checkpoint_every", "exports", "threads", "parallel", "device"})
    content = [[p.prefix, p.tails, p.answers] for p in (*packs, *held)]
    return digest_of([base_sha256, content, len(held), tuned, digest_of_code(Path(__file__).parent)])


def _write(trained: TrainingOutput, result: TrainingResult, record: Callable[..., None], out: Path) -> None:
    """Every export is written and tried in a draft folder; the records come before the first of them has its name."""
    draft = out / f".draft-{os.getpid()}"
    for left in out.glob(".draft-*"):
        shutil.rmtree(left, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        made = {kind: export(kind, trained, draft) for kind in trained.params.exports}
        record(answers={str(kind): answer for kind, (_, answer) in made.items()})
        for kind, (written, _) in made.items():
            final = out / written.name
            if final.is_dir():
                shutil.rmtree(final)
            result.exports[kind] = written.replace(final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _faults_named() -> Iterator[None]:
    """No memory and a lost process, which torch raises as RuntimeError, in words that say what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error)
        if isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY):
            raise UntrainableError(
                f"training needs more memory than there is: {said.splitlines()[0] if said else 'allocation failed'}",
                remedy="lower train.batch (and raise train.accumulate) or train.max_tokens, "
                "or set train.gradient_checkpointing",
            ) from error
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and any(word in said for word in _LOST):
            raise SluiceError(
                "another training process died",
                remedy="read the end of its log, then run the same command: training resumes from the last checkpoint",
            ) from error
        raise
