"""config/service.yaml. Every key is required: what the service does is written in the file, not in code."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from sluice.core.settings import Settings

_SMALLEST_SLOT = 512


class RetrievalSettings(Settings):
    k: int = Field(ge=1, le=50, description="passages in the prompt")
    min_similarity: float = Field(ge=-1, le=1, description="cosine below which the service declines by itself")


class LlmSettings(Settings):
    threads: int = Field(ge=1)
    slots: int = Field(ge=1, description="answers in progress at the same time")
    context: int = Field(ge=_SMALLEST_SLOT, description="tokens, shared by all slots")
    timeout_seconds: float = Field(gt=0, description="for one whole answer")

    @model_validator(mode="after")
    def _slots_are_large_enough(self) -> Self:
        if self.context // self.slots < _SMALLEST_SLOT:
            raise ValueError(
                f"context {self.context} over {self.slots} slots leaves {self.context // self.slots} tokens each; "
                f"at least {_SMALLEST_SLOT} are needed"
            )
        return self


class LimitSettings(Settings):
    max_body_bytes: int = Field(ge=1024)
    max_concurrent: int = Field(ge=1, description="requests in flight")


class ServiceSettings(Settings):
    decline: str = Field(min_length=1, description="the whole answer when the passages hold none")
    retrieval: RetrievalSettings
    llm: LlmSettings
    limits: LimitSettings
    drain_seconds: float = Field(ge=1, description="from SIGTERM to the end of the process, at most")
