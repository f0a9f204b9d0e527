"""A language model judges answers by the row's `expect.rubric` or `RUBRIC`, except declines. A reply other than one
line, `PASS: reason` or `FAIL: reason`, is asked for once more, and then an error, never a verdict."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import TYPE_CHECKING

from sluice.evaluation.registry import Assertion, Metric, Output, Row, metric

if TYPE_CHECKING:
    from sluice.llm.chat import ChatProvider, Messages
    from sluice.prompts import Prompt


RUBRIC = (
    "The answer passes when it gives what one of the expected answers gives; wording, language, length and word order "
    "do not matter. It fails when it is wrong, misses a part of the expected answer, contradicts it, or adds something "
    "that the passages do not say. Where no answer is expected, it passes only when it says that the documents do not "
    "answer the question."
)
_REPLY = re.compile(r"(PASS|FAIL): *(\S.*)")
_AGAIN = (
    "That is not one line in the form `PASS: reason` or `FAIL: reason`. Give your verdict again, in that form alone."
)


@metric
class Judge(Metric):
    """`by`: the name of the judge, for the version; `seconds`: for a reply; `concurrency`: cases at a time."""

    name = "judge"
    what = "a language model says that the answer passes the rubric (below)"
    unit = "share"
    rows = "that were not declined, where `judge` of `config/providers.yaml` is not empty"
    needs = "model"
    resources = ("judge",)
    aggregate = "share"

    def __init__(self, chat: ChatProvider, prompt: Prompt, *, by: str, seconds: float, concurrency: int) -> None:
        self.version = f"1 {prompt.digest[:12]} {by}"
        self._chat = chat
        self._prompt = prompt
        self._seconds = seconds
        self._turns = asyncio.Semaphore(concurrency)

    async def score(self, row: Row, output: Output) -> Assertion | None:
        if output.declined:
            return None
        messages = self._prompt.render(
            rubric=row.expect.rubric if row.expect and row.expect.rubric else RUBRIC,
            question=row.in_context,
            passages="\n".join(f"[{number}] {text}" for number, text in enumerate(output.passages, 1)),
            expected="\n".join(row.answers),
            answer=output.text,
        )
        async with self._turns:
            reply = await self._ask(messages)
            verdict = _parse(reply)
            if verdict is None:
                # A reply in the conversation makes it another request: a cache does not give the same one again.
                messages += [
                    {"role": "assistant", "content": reply.strip() or "-"},
                    {"role": "user", "content": _AGAIN},
                ]
                reply = await self._ask(messages)
                verdict = _parse(reply)
        if verdict is None:
            raise ValueError(f"the judge's reply is not a verdict: {reply[:200]!r}")
        return verdict

    async def _ask(self, messages: Messages) -> str:
        deadline = asyncio.get_running_loop().time() + self._seconds
        stream = self._chat.stream(messages, self._prompt.parameters, deadline=deadline)
        async with aclosing(stream):
            return "".join([delta.text async for delta in stream])


def _parse(reply: str) -> Assertion | None:
    found = _REPLY.fullmatch(reply.strip())
    return Assertion(found[1] == "PASS", found[2]) if found else None
