"""The judge of a release: its providers and its prompt, for the hook `judge` of an evaluation."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import cache as once

from sluice.core.errors import SluiceError
from sluice.evaluation.application import model_digest
from sluice.evaluation.replay import RecordedChat
from sluice.evaluation.response_cache import ResponseCache
from sluice.extras.calibration.metrics import Judge
from sluice.llm.chat import ChatProvider
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runtime import open_model

PROMPT = "judge"  # the name of the prompt, and of the role that answers it


def open_judge(
    bundle: ReleaseBundle, opened: ExitStack, cache: ResponseCache | None = None, *, replay: bool = False
) -> Judge | None:
    specs = bundle.providers.judge
    if not specs:
        return None
    if PROMPT not in bundle.prompts:
        raise SluiceError(
            f"release {bundle.release}: it has a judge, but no prompt {PROMPT!r}",
            remedy=f"add prompts/{PROMPT}.prompt.yml, or empty `judge` in config/providers.yaml",
        )
    # A local judge is the base model: the adapter was taught to answer, not to judge.
    base = replace(bundle, adapter=None)

    def connect() -> ChatProvider:
        return opened.enter_context(open_model(base, PROMPT))

    def recorded(cache: ResponseCache) -> ChatProvider:
        return RecordedChat(cache, specs, once(connect), model_digest=model_digest(base), replay=replay)

    return Judge(
        recorded(cache) if cache else connect(),
        bundle.prompts[PROMPT],
        by=", ".join(f"{spec.name}/{spec.model}" for spec in specs),
        seconds=bundle.service.llm.timeout_seconds,
        # More would wait in the provider's own queue, and fail when that takes too long.
        concurrency=specs[0].max_concurrency,
    )
