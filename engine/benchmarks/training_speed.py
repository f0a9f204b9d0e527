"""How fast training is, on rows of this checkout, and what the processor allows

    .venv/bin/python engine/benchmarks/training_speed.py [--steps 12] [--threads 1]

Trains with the parameters of pipelines/params.yaml, in a process of its own, so that the peak of memory is that of
training. Needs build/index (`sluice index build`). Seconds are those of the wall, and mean something on a quiet machine
only; with `--threads 1` they are those of the processor, which hold on a busy one too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json
from sluice.core.params import load_params
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import load_rows
from sluice.extras.finetune.base_model import load_base
from sluice.extras.finetune.dataset import Example, build_examples
from sluice.extras.finetune.train_stage import TrainingPaths, train
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.extras.finetune.training_record import peak_memory
from sluice.llm.model_files import ensure, load_models
from sluice.prompts import load_prompt
from sluice.retrieval.embedder import Embedder
from sluice.serving.settings import ServiceSettings


def main(steps: int, threads: int) -> int:
    workspace = Workspace.find()
    models = load_models(workspace.config / "models.yaml")
    base = ensure(models.chat, workspace.cache)
    params = load_params(workspace.params, "train", TrainingParameters)
    params = params.model_copy(update={"steps": steps, "threads": threads, "exports": ("peft",)})
    prompt = load_prompt(workspace.prompts / "finetune.prompt.yml")
    rows = load_rows(workspace.data / "train.jsonl")
    decline = load_settings(workspace.config / "service.yaml", ServiceSettings).decline
    with Embedder(ensure(models.embed, workspace.cache)) as embedder:
        examples = build_examples(rows, workspace.build / "index", embedder, prompt, decline, params)
    seconds, speed, peak = alone(measured, base, examples, params)
    limit, needed = alone(processor, base, params)
    print(f"a step of {params.examples_a_step} examples takes {seconds:.1f} s: {speed:.0f} tokens/s")
    print(f"peak of memory: {peak / 2**30:.2f} GiB")
    print(
        f"matrix products of the model's shapes: {limit / 1e9:.0f} GFLOP/s; a token needs {needed / 1e9:.2f}, so at "
        f"most {limit / needed:.0f} tokens/s; training reaches {speed / (limit / needed):.0%} of that"
    )
    return 0


def clock(params: TrainingParameters) -> Callable[[], float]:
    """Seconds of the processor where there is one thread, else of the wall."""
    return time.process_time if params.threads == 1 else time.perf_counter


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `work`, computed in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def measured(base: Path, examples: list[Example], params: TrainingParameters) -> tuple[float, float, int]:
    """Seconds of a step, tokens a second and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        places = TrainingPaths(base, base, Path(folder) / "out", Path(folder) / "checkpoints")
        marks: list[float] = []
        train(places, examples, params, lambda *_: marks.append(clock(params)()))
        record = read_json(places.out / "training.json")
    # The first step warms the allocator and the kernels, and loading lies before it.
    seconds = (marks[-1] - marks[0]) / (len(marks) - 1)
    return seconds, record["tokens"] / record["steps"] / seconds, peak_memory()


def processor(base: Path, params: TrainingParameters) -> tuple[float, float]:
    """FLOP of matrix products alone in a second, and the FLOP that a token needs in them.

    Weights of the base get no gradient, so a token needs 4 FLOP for each weight of a layer: forward, and backward to
    activations. Adapter and attention, some per cent more, are left out.
    """
    import torch

    model, _ = load_base(base, params)
    layer = [p for name, p in model.named_parameters() if ".layers.0." in name and p.dim() == 2]
    weights = sum(p.numel() for p in layer) * model.config.num_hidden_layers
    torch.set_num_threads(params.threads or os.cpu_count() or 1)
    now = clock(params)
    rows = torch.randn(params.max_tokens, max(p.shape[1] for p in layer)).to(model.dtype)

    def once() -> None:
        for weight in layer:
            torch.nn.functional.linear(rows[:, : weight.shape[1]], weight)

    with torch.no_grad():
        once()
        began, rounds = now(), 0
        while now() - began < 3:
            once()
            rounds += 1
        seconds = now() - began
    return 2 * sum(p.numel() for p in layer) * params.max_tokens * rounds / seconds, 4.0 * weights


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="one of them to warm up")
    parser.add_argument("--threads", type=int, default=0, help="default: all cores")
    arguments = parser.parse_args()
    sys.exit(main(arguments.steps, arguments.threads))
