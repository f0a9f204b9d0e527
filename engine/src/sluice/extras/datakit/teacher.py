"""Asks the role `teacher` for questions about passages, each with an answer that is a span of its passage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from itertools import zip_longest

from sluice.core.errors import SluiceError
from sluice.core.progress import StageReporter
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import Document, Provenance
from sluice.evaluation.response_cache import FOLDER, ResponseCache
from sluice.extras.datakit.drafts import Draft, passages, sha256
from sluice.extras.prompt_tests.run_prompt_tests import open_role
from sluice.llm.chat import ChatProvider
from sluice.llm.model_files import Models
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.settings import PROMPT_ROLES, ProviderSpec, load_providers
from sluice.prompts import Prompt, load_prompt
from sluice.serving.settings import ServiceSettings

_EACH = 3  # questions of one passage
_SEED = 1
_FEWEST_WORDS = 12  # a heading or a list of names holds no question worth asking
# What a provider will not or cannot say of one passage. Anything else would fail of the next one too, and ends the run.
_OF_ONE_PASSAGE = (FailureKind.REFUSED, FailureKind.GARBAGE)
_Passage = tuple[Document, str]


def ask_teacher(workspace: Workspace, documents: Sequence[Document], wanted: int) -> list[Draft] | None:
    """Return about `wanted` drafts, spread over the documents, or None if the role has no provider."""
    providers = load_providers(workspace.config / "providers.yaml", roles=Models.roles())
    if not providers.teacher:
        return None
    prompt = load_prompt(workspace.prompts / "generate.prompt.yml", roles=PROMPT_ROLES)
    seconds = load_settings(workspace.config / "service.yaml", ServiceSettings).llm.timeout_seconds
    turns = zip_longest(*([(one, p.text) for p in passages(one)] for one in documents))
    chosen = [one for turn in turns for one in turn if one and len(one[1].split()) >= _FEWEST_WORDS]
    with open_role(workspace, providers, "teacher", ResponseCache(workspace.state / FOLDER)) as chat:
        try:
            return asyncio.run(_Teacher(chat, prompt, providers.teacher[0], seconds).over(chosen, wanted))
        except ProviderError as error:
            remedy = "nothing was written; run the same command to continue where it stopped"
            raise SluiceError(f"a model could not be asked: {error.message}", remedy=remedy) from error


class _Teacher:
    def __init__(self, chat: ChatProvider, prompt: Prompt, first: ProviderSpec, seconds: float) -> None:
        self._chat, self._prompt, self._first, self._seconds = chat, prompt, first, seconds

    async def over(self, chosen: Sequence[_Passage], wanted: int) -> list[Draft]:
        found: list[Draft] = []
        reporter, size = StageReporter("start"), self._first.max_concurrency
        for start in range(0, len(chosen), size):
            for drafts in await asyncio.gather(*(self._about(*one) for one in chosen[start : start + size])):
                found += drafts
            reporter.report(min(len(found), wanted), wanted, "rows")
            if len(found) >= wanted:
                break
        return found

    async def _about(self, document: Document, passage: str) -> list[Draft]:
        parameters = self._prompt.parameters.model_copy(update={"seed": _SEED})
        messages = self._prompt.render(title=document.title, passage=passage, count=_EACH)
        deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            async with aclosing(self._chat.stream(messages, parameters, deadline=deadline)) as stream:
                deltas = [delta async for delta in stream]
        except ProviderError as error:
            if error.failure not in _OF_ONE_PASSAGE:
                raise
            return []
        last = deltas[-1]
        by = f"{last.provider}/{last.model}" if last.provider else f"{self._first.name}/{self._first.model}"
        made = Provenance(teacher=by, prompt=self._prompt.digest, document=sha256(document.text), seed=_SEED)
        reply = read_reply("".join(delta.text for delta in deltas))
        return [  # the first question of a passage follows none
            Draft(document, passage, question, answer.strip("\"'“”. "), follow_up if place else "", "generated", made)
            for place, (question, answer, follow_up) in enumerate(reply)
        ]


def read_reply(reply: str) -> Iterator[tuple[str, str, str]]:
    """Yield the questions of a reply with their answers and follow-ups; what is in another form is left out."""
    decoder, at = json.JSONDecoder(), 0
    while (at := reply.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(reply, at)
        except (ValueError, RecursionError):
            at = reply.find("\n", at) if "\n" in reply[at:] else len(reply)
            continue
        texts = (value.get(key) for key in ("question", "answer", "follow_up"))
        question, answer, follow_up = (" ".join(one.split()) if isinstance(one, str) else "" for one in texts)
        if question and answer:
            yield question, answer, follow_up
