"""Prepares a question for the search: earlier turns, and words that nobody writes so.

With `condense` of config/service.yaml a question that stands alone is made out of a conversation by the prompt
`condense`: `How long is it?` finds nothing. It is used only when there are earlier questions. On any failure the last
question is used unchanged: a worse answer to a follow-up is better than none.

`bacth size` finds little, `batch size` finds its passage. Only the search sees the mended question. A word is wrong
where neither the documents nor the embedder know it, and it becomes the nearest word of the documents, if one is near.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import zipfile
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

from langchain_core.messages import AIMessage

from sluice.extend import Messages, ModelError, RequestState, Services, TraceStep, sentences

STEP = "condense"  # of the prompt, and of the trace
_log = logging.getLogger(__name__)
_SPEAKERS = {"user": "User", "assistant": "Assistant"}
_WORD = re.compile(r"[^\W\d_]{4,}")  # shorter ones have too many neighbours
_COURTESY = re.compile(
    r"(?i)^(?:hi|hello|hey|dear|good (?:morning|afternoon|evening|day))\b(?:(?: \w+){0,4}[,.!])?\s*"
    r"|\b(?:please|kindly)\b|\b(?:thanks|thank you|(?:kind|best) regards|cheers|i hope you|sorry for)\b[^.!?]*"
    r"|\bin advance\b"
)
_CORRECTS = re.compile(r"(?i)^\W*(?:(?:no|oh|ah|wait|sorry|actually)\W+)*i meant?\b\W*")
_LEANS = re.compile(
    r"(?i)^\W*(?:and|so|but|also|no|or|why|what (?:about|if))\b"
    r"|\bi mean|\b(?:both|same|else|its?|they|them|their|th(?:at|is|ose|ese|ere|en)|ones?|(?:an)?other|instead|the two"
    r"|latter|former|afterwards)\b"
)
_PERSONAL = re.compile(r"(?i)\b(?:you(?:r|rself)?|u|am i|hello|hi|hey|this (?:chat|assistant|thing|handbook|work))\b")
_ERRAND = re.compile(r"(?i)\b(?:recommend|suggest|write|translate|order|book|send|play|poem|joke)\b")
_ASKS = re.compile(r"(?i)\?|\b(?:who|whats?|when|where|which|why|hows?|is|are|can|should|do|does|must|may|i meant?)\b")
_FEW, _LONG = 1000, 20  # words: documents with fewer do not show what their language looks like; questions with more
_NEAR = 0.75  # on the 48 articles of training: misspelt questions find their passage in 96 % in place of 81 %


class Condenser:
    """Safe for concurrent questions. SluiceError when the prompt wants other variables than history and question."""

    def __init__(self, services: Services) -> None:
        assert services.settings.condense is not None
        self._settings = services.settings.condense
        self._prompt = services.prompt(STEP, fills=("history", "question"), needs=("history", "question"))
        self._chat = services.chat("chat", self._prompt)
        self._services = services

    @classmethod
    def of(cls, services: Services) -> Condenser | None:
        """None where the release switches it off."""
        settings = services.settings.condense
        return cls(services) if settings is not None and settings.enabled else None

    async def condense(self) -> str:
        """The question of the request as it stands alone. A first question is itself, and costs nothing."""
        request = self._services.request
        return await request.once(STEP, lambda: self._condensed(request))

    async def _condensed(self, request: RequestState) -> str:
        earlier = earlier_turns(request.messages, self._settings.turns)
        if not earlier:
            return request.question
        with request.preparation(STEP) as step:
            turns = await allowed_turns(earlier, self._services, self._settings.max_characters)
            if not turns:
                return request.question
            history = "\n".join(f"{_SPEAKERS[turn['role']]}: {turn['content']}" for turn in turns)
            text = await self._ask(history, request.question, step)
            verdict = await self._services.guards.check_input(text) if text else None
            taken = verdict is not None and not verdict.blocked
            step.set("sluice.condense.taken", taken)
            return verdict.text if verdict is not None and taken else request.question

    async def _ask(self, history: str, question: str, step: TraceStep) -> str:
        """The reply, empty when there was no whole one in time."""
        reply = AIMessage("")
        try:
            # Given up by leaving it, not by the provider's deadline: that would count against its breaker.
            async with asyncio.timeout(self._settings.timeout_seconds):
                reply = await (self._prompt | self._chat).ainvoke({"history": history, "question": question})
        except TimeoutError:
            step.fail("TimeoutError")
        except ModelError as error:
            _log.warning("the question was not condensed: %s", error.failure)
            step.fail(error.failure)
        text = " ".join(str(reply.text).split())
        step.text("output", [{"role": "assistant", "content": text}])
        return text if reply.response_metadata.get("finish_reason") == "stop" else ""


async def allowed_turns(earlier: Messages, services: Services, characters: int) -> list[dict[str, str]]:
    """Messages that the guards let pass, each as one line of so many characters at most."""
    found = []
    for message in earlier:
        verdict = await services.guards.check_input(message["content"])
        if not verdict.blocked:
            found.append({"role": message["role"], "content": " ".join(verdict.text.split())[:characters]})
    return found


def earlier_turns(messages: Messages, turns: int) -> Messages:
    """The last `turns` questions before the last one, each with the replies to it; empty when it is the first."""
    spoken = [message for message in messages if message["role"] in _SPEAKERS and message["content"].strip()]
    asked = [number for number, message in enumerate(spoken) if message["role"] == "user"]
    before = asked[:-1][-turns:]
    return spoken[before[0] : asked[-1]] if before else []


def bare(question: str) -> str:
    """A correction without its beginning, a long question without courtesies: 90 % of the polite find their passage."""
    question = _CORRECTS.sub("", question) or question
    kept = [text for one in sentences(question) if len((text := _COURTESY.sub("", one).strip(" ,")).split()) > 3]
    return " ".join(kept) if kept and len(question.split()) > _LONG else question


def leans(question: str) -> bool:
    """Whether a question says that it needs what was said before it, or is very short. `Who are you?` does not lean."""
    return bool(_LEANS.search(question)) or (len(question.split()) < 4 and "are you" not in question.lower())


def is_personal(question: str) -> bool:
    """Whether it may be about the assistant, or no question at all. No errand is, nor a long one: `could you` is polite
    there."""
    said = bool(_PERSONAL.search(question)) or not _ASKS.search(question)
    return said and len(question.split()) <= _LONG and not _ERRAND.search(question)


class Speller:
    """`documents`: their words; `others`: more words that are right."""

    def __init__(self, documents: Collection[str], others: Collection[str] = ()) -> None:
        self._documents = frozenset(documents)
        self._candidates = sorted(word for word in documents if _WORD.fullmatch(word))
        self._known = {*documents, *others}

    @classmethod
    def of(cls, index: Path, embedder: Path) -> Speller:
        """For an index of the shared documents, and an embedder's file. Without an index nothing is mended."""
        if not (index / "chunks.jsonl").is_file():
            return cls(())
        chunks = [json.loads(line) for line in (index / "chunks.jsonl").read_text(encoding="utf-8").splitlines()]
        texts = [f"{chunk['title']} {chunk['text']}" for chunk in chunks if chunk.get("tenant") is None]
        with zipfile.ZipFile(embedder) as archive:
            pieces = json.loads(archive.read("vocabulary.json"))
        return cls({word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower())}, pieces)

    def mend(self, question: str) -> str:
        """The question with its wrong words replaced."""
        return _WORD.sub(lambda found: self._mended(found[0]), question)

    def is_foreign(self, question: str) -> bool:
        """Whether fewer than half of three words or more stand in the documents: it is in another language, or about
        other things. True of most training rows in other languages, and of one of 1,388 that are answered."""
        words = re.findall(r"[^\W\d_]+", question.lower())
        known = sum(word in self._documents for word in words)
        return len(self._documents) >= _FEW and len(words) >= 3 and 2 * known < len(words)

    def knows(self, question: str) -> bool:
        """Whether all its words but the shortest are in the documents; true of any question if there are none."""
        known, words = self._documents, _WORD.findall(question.lower())
        return not known or all({word, word.removesuffix("s")} & known for word in words)

    def _mended(self, word: str) -> str:
        if word.lower() in self._known or word.lower().removesuffix("s") in self._known:
            return word
        alike = [one for one in self._candidates if one[0] == word[0].lower()]
        return (get_close_matches(word.lower(), alike, 1, _NEAR) or [word])[0]
