"""Hyperparameters of a training run: section `train` of pipelines/params.yaml."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sluice.core.errors import SluiceError
from sluice.core.settings import Settings

ExportKind = Literal["gguf", "peft", "merged"]
AnswerStyle = Literal["span", "answer", "sentence", "explain", "steps", "source", "formal", "welcome"]


class TrainingParameters(Settings):
    """Defaults are the recipe that engine/docs/reference/training.md measures; params.yaml may change them."""

    method: Literal["lora", "qlora", "full"] = Field("lora", description="what is trained: an adapter, or all weights")
    rank: int = Field(16, ge=1, le=256)
    alpha: float = Field(32.0, gt=0)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    learning_rate: float = Field(1e-3, gt=0, le=1)
    warmup: int = Field(4, ge=0, description="steps in which the learning rate rises")
    steps: int = Field(72, ge=1, le=100_000, description="optimiser steps, at most")
    epochs: float = Field(0, ge=0, description="at most this many passes over the examples; 0 sets no limit")
    batch: int = Field(4, ge=1, le=1024, description="examples that are computed together")
    accumulate: int = Field(2, ge=1, le=1024, description="times `batch` examples whose gradients make one step")
    weight_decay: float = Field(0.0, ge=0, le=1)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="auto: bfloat16 where the device multiplies it in hardware, else float32"
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        "auto", description="auto: sdpa; flash_attention_2 trains batches without padding, on a GPU"
    )
    gradient_checkpointing: bool = Field(False, description="compute twice what would have to be kept: less memory")
    threads: int = Field(0, ge=0, le=512, description="CPU threads; 0 takes all cores")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    parallel: Literal["ddp", "fsdp"] = Field("ddp", description="several processes: each the whole model, or a shard")
    seed: int = Field(1, ge=0)
    max_tokens: int = Field(1024, ge=16, description="longest example; a longer one is skipped")
    instructions: dict[AnswerStyle, tuple[str, ...]] = Field(
        {"span": ("Copy the shortest span of the passages that answers the question.",)},
        min_length=1,
        description="wordings of `instruction` in prompts/finetune.prompt.yml by the answer they ask for: the shortest "
        "span; the one or two sentences; one sentence; with the next one; as a list; behind or before its title; "
        "a reply where no passage is",
    )
    min_similarity: float = Field(-1, ge=-1, le=1, description="without a passage so near none is shown, as in serving")
    sentences: int = Field(
        0, ge=0, description="of the passages, as many are shown in their place, as in serving; 0: passages"
    )
    max_doubt: float = Field(
        1, ge=0, le=1, description="above it serving declines and asks no model, so such rows are not learned"
    )
    passages: int = Field(3, ge=1, le=20, description="passages in each prompt, as in serving")
    order: Literal["random", "rank"] = Field(
        "random", description="of the passages in a prompt; rank is that of serving, most similar first"
    )
    draws: int = Field(1, ge=1, le=100, description="times that passages are drawn for every row")
    replies: int = Field(1, ge=1, le=20, description="times that a row is learned which is answered without a document")
    decline_share: float = Field(0.2, ge=0, le=0.9, description="share of examples whose passages hold no answer")
    held_share: float = Field(0.0, ge=0, le=0.5, description="share of rows kept out of training to evaluate its loss")
    evaluate_every: int = Field(12, ge=1, description="steps between two evaluations on the held rows")
    patience: int = Field(3, ge=1, description="evaluations without a better loss before training stops")
    checkpoint_every: int = Field(
        24,
        ge=1,
        description="steps between two checkpoints; one more follows the last step, and each evaluation",
    )
    exports: tuple[ExportKind, ...] = Field(("gguf",), min_length=1, description="forms in which the result is written")

    @property
    def examples_a_step(self) -> int:
        return self.batch * self.accumulate

    def sharded(self, processes: int) -> bool:
        return processes > 1 and self.parallel == "fsdp"

    @model_validator(mode="after")
    def _exportable(self) -> Self:
        if self.method == "full" and set(self.exports) != {"merged"}:
            raise ValueError("method full trains no adapter: its only export is [merged]")
        if self.method == "qlora" and "merged" in self.exports:
            raise ValueError("method qlora trains beside packed weights, which cannot be merged: export gguf or peft")
        return self


def require_releasable(params: TrainingParameters) -> None:
    """Refuse exports without GGUF, the form that a release serves."""
    if "gguf" not in params.exports:
        raise SluiceError(
            "pipelines/params.yaml: train.exports has no gguf, and a release serves build/adapter/adapter.gguf",
            remedy="add it, or write elsewhere: `sluice train --out DIR`",
        )
