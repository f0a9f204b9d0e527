"""Our training loop beside the recipe one would write first, on the same rows in one run.

    .venv/bin/python benchmarks/training_speed.py [steps of the plain recipe to time, default 4]

The plain recipe: transformers + peft, rank 16 on all projections, bfloat16, 48 steps of 4 padded rows, logits for every
token. Its time is the measured seconds a step times 48. Ours runs whole. Needs build/index (`sluice index build`).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sluice.core.workspace import Workspace
from sluice.data.rows import load_rows
from sluice.llm.models import ensure, load_models
from sluice.prompts import load_prompt
from sluice.retrieval.embedder import Embedder
from sluice.training.base import load_base
from sluice.training.dataset import Example, build_examples
from sluice.training.lora import add_adapter, train
from sluice.training.parameters import TrainingParameters

PLAIN_STEPS, PLAIN_BATCH = 48, 4


def main(timed_steps: int) -> int:
    workspace = Workspace.find()
    models = load_models(workspace.config / "models.yaml")
    base = ensure(models.chat, workspace.cache)
    params = TrainingParameters()
    prompt = load_prompt(workspace.prompts / "finetune.prompt.yml")
    rows = load_rows(workspace.data / "train.jsonl")
    with Embedder(ensure(models.embed, workspace.cache)) as embedder:
        examples = build_examples(
            rows, workspace.build / "index", embedder, prompt, "The handbook does not say.", params
        )
    plain = PLAIN_STEPS * plain_seconds_per_step(base, examples, params, timed_steps)
    with tempfile.TemporaryDirectory() as folder:
        ours = train(base, examples, params, Path(folder), lambda *_: None)
    print("| recipe | answers learned from | seconds | ratio |\n|---|---|---|---|")
    print(f"| plain, {PLAIN_STEPS} steps of {PLAIN_BATCH} rows | {PLAIN_STEPS * PLAIN_BATCH} | {plain:.0f} | 1 |")
    print(f"| ours, {params.steps} steps | {ours.answers} | {ours.seconds:.0f} | {ours.seconds / plain:.2f} |")
    return 0


def plain_seconds_per_step(base: Path, examples: list[Example], params: TrainingParameters, steps: int) -> float:
    import torch

    torch.manual_seed(1)
    loaded, tokenizer, _ = load_base(base, params)
    model = add_adapter(loaded, params)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=params.learning_rate)
    began = 0.0
    for step in range(steps + 1):
        if step == 1:  # the first step warms the allocator and the kernels
            began = time.perf_counter()
        batch = [examples[(step * PLAIN_BATCH + number) % len(examples)] for number in range(PLAIN_BATCH)]
        model(**padded(batch, tokenizer)).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return (time.perf_counter() - began) / steps


def padded(batch: list[Example], tokenizer: Any) -> dict[str, Any]:
    """Token ids, mask and labels of equal length; only answers are labelled."""
    import torch

    rows = []
    for example in batch:
        prompt = tokenizer.apply_chat_template(list(example.messages), tokenize=False, add_generation_prompt=True)
        start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer = tokenizer(example.target + "<|im_end|>", add_special_tokens=False)["input_ids"]
        rows.append((start, answer))
    longest = max(len(start) + len(answer) for start, answer in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    labels = torch.full((len(rows), longest), -100)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for number, (start, answer) in enumerate(rows):
        whole = len(start) + len(answer)
        ids[number, :whole] = torch.tensor(start + answer)
        labels[number, len(start) : whole] = torch.tensor(answer)
        mask[number, :whole] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4))
