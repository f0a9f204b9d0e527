"""config/service.yaml. Every key is required: the behaviour of the service is written in the file, not in code."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sluice.core.settings import Settings

_SMALLEST_SLOT = 512


class RetrievalSettings(Settings):
    k: int = Field(ge=1, le=50, description="passages in the prompt")
    min_similarity: float = Field(ge=-1, le=1, description="cosine below which no passage is shown")


class SmallModelSettings(Settings):
    """The help of the extra `small_model`."""

    sentences: int = Field(ge=0, description="of the passages, as many as are shown in their place; 0: passages")
    max_doubt: float = Field(ge=0, le=1, description="that passages answer; above it an application declines")
    quotes: bool = Field(False, description="whether these sentences are the answer, and no model is asked")


class LlmSettings(Settings):
    threads: int = Field(ge=1)
    slots: int = Field(ge=1, description="answers in progress at the same time")
    context: int = Field(ge=_SMALLEST_SLOT, description="tokens, shared by all slots")
    timeout_seconds: float = Field(gt=0, description="for one whole answer")
    max_calls: int = Field(16, ge=1, description="calls of models for one attempt at an answer; each tool needs one")
    max_shaped_tokens: int = Field(
        512, ge=16, description="longest answer with tools or a response_format of the caller's, in tokens"
    )

    @model_validator(mode="after")
    def _slots_are_large_enough(self) -> Self:
        if self.context // self.slots < _SMALLEST_SLOT:
            raise ValueError(
                f"context {self.context} over {self.slots} slots leaves {self.context // self.slots} tokens each; "
                f"at least {_SMALLEST_SLOT} are needed"
            )
        return self


class CondenseSettings(Settings):
    enabled: bool = Field(description="whether earlier questions of a conversation are looked at")
    turns: int = Field(ge=1, le=20, description="earlier questions that are used, each with the replies to it")
    max_characters: int = Field(ge=20, description="of each message of them")
    timeout_seconds: float = Field(gt=0, description="after that the last question is taken as it is")


class LimitSettings(Settings):
    max_body_bytes: int = Field(ge=1024)
    max_concurrent: int = Field(ge=1, description="answers in progress")
    # These came later. Their defaults are what the service did before, so that older releases can be served again.
    max_queued: int = Field(0, ge=0, description="requests that wait for an answer in progress to end")
    queue_seconds: float = Field(5, gt=0, description="longest wait in the queue")


class PageSettings(Settings):
    """Words of the chat page. The notice has to say that one talks to an AI: Article 50 of the EU AI Act."""

    name: str = Field(default="Assistant", pattern=r"\S", description="title and heading")
    greeting: str = Field(
        default="What would you like to know?", pattern=r"\S", description="before the first question"
    )
    notice: str = Field(default="You are talking to an AI. It can be wrong, so check the sources.", pattern=r"\S")
    examples: tuple[str, ...] = Field(default=(), description="questions that a click asks")


class ServiceSettings(Settings):
    decline: str = Field(min_length=1, description="the whole answer when the passages hold none")
    answers: Literal["spans", "any"] = Field(
        "any", description="spans: the local model answers with words in a row out of a passage, or declines"
    )
    retrieval: RetrievalSettings
    small_model: SmallModelSettings | None = Field(None, description="None: passages are shown as they are")
    llm: LlmSettings
    condense: CondenseSettings | None = Field(None, description="None: a release that was made before there was any")
    limits: LimitSettings
    page: PageSettings = PageSettings()
    drain_seconds: float = Field(ge=1, description="from SIGTERM to the end of the process, at most")
    notice_seconds: float = Field(
        1, ge=0, description="from SIGTERM to the end of the process, at least: until proxies have seen /readyz turn"
    )

    @model_validator(mode="after")
    def _notice_fits(self) -> Self:
        if self.notice_seconds >= self.drain_seconds:
            raise ValueError(
                f"notice_seconds {self.notice_seconds:g} must be less than drain_seconds {self.drain_seconds:g}"
            )
        return self
