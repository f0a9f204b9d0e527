"""What a training run may be tuned with: section `train` of pipelines/params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sluice.core.settings import Settings


class TrainingParameters(Settings):
    """Defaults are the recipe that docs/reference/training.md measures; params.yaml may change them."""

    rank: int = Field(16, ge=1, le=256)
    alpha: float = Field(32.0, gt=0)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    layers: int = Field(0, ge=0, description="adapt only this many upper layers; 0 adapts all")
    learning_rate: float = Field(1e-3, gt=0, le=1)
    warmup: int = Field(4, ge=0, description="steps in which the learning rate rises")
    steps: int = Field(72, ge=1, le=100_000, description="optimiser steps")
    batch: int = Field(2, ge=1, le=1024, description="packs for each step")
    weight_decay: float = Field(0.0, ge=0, le=1)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    attention: Literal["eager", "sdpa"] = "eager"
    threads: int = Field(0, ge=0, le=512, description="CPU threads, split over the packs of a step; 0 takes all cores")
    seed: int = Field(1, ge=0)
    max_tokens: int = Field(1024, ge=16, description="longest pack; a longer example is skipped")
    passages: int = Field(3, ge=1, le=20, description="passages in each prompt, as in serving")
    share: int = Field(
        4, ge=1, le=64, description="most questions that are trained on one set of passages; 1 packs nothing"
    )
    decline_share: float = Field(0.2, ge=0, le=0.9, description="share of examples whose passages hold no answer")
