"""Generates proposed rows from passages. A teacher writes a question; it is kept if its answer is a span of the
passage, if it is no near duplicate, and if a model that gets only passage and question finds the answer again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from time import monotonic

from sluice.core.errors import SluiceError
from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.settings import load_settings
from sluice.core.text import token_f1
from sluice.core.workspace import Workspace
from sluice.data import privacy
from sluice.data.near_duplicates import repeats_across, repeats_within, words
from sluice.data.privacy import PrivacyPolicy
from sluice.data.rows import Document, Provenance, Row, load_corpus, load_rows
from sluice.evaluation.response_cache import FOLDER, ResponseCache
from sluice.extras.datakit.proposals import Proposal, Proposals
from sluice.extras.prompt_tests.run_prompt_tests import open_role
from sluice.llm.chat import ChatProvider
from sluice.llm.model_files import Models
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.settings import PROMPT_ROLES, ProviderSpec, load_providers
from sluice.prompts import Prompt, load_prompt
from sluice.retrieval import Hit, format_passages
from sluice.retrieval.index_files import ChunkerSettings, chunk
from sluice.retrieval.index_stage import IndexParameters
from sluice.serving.settings import ServiceSettings

_FEWEST_WORDS = 12  # a heading or a list of names holds no question worth asking
_FEWEST_IN_QUESTION = 3
_MOST_IN_ANSWER = 12
_POINTS_AT_PASSAGE = re.compile(r"\b(?:the|this|that|given|above)\s+(?:passage|paragraph|excerpt|text|article)\b", re.I)
TEACHER = "teacher"
_INTRO = """Questions that a model wrote about the corpus. Each answer is a span of its document, and was found again
given the question and the passage alone. Both replies may be wrong together. Teacher, prompt, document and seed are in
each row's `provenance`."""
# What a provider will not or cannot say of one passage. Anything else would fail of the next one too, and ends the run.
_OF_ONE_PASSAGE = (FailureKind.REFUSED, FailureKind.GARBAGE)
Reply = tuple[str, str]  # its text, and who gave it, as provider/model: a fallback may have


@dataclass(frozen=True)
class SourcePassage:
    """A piece of a document, cut as the index cuts it, so it's what training and serving show the model."""

    document: Document
    text: str


def choose_passages(
    corpus: Sequence[Document], evaluation: Sequence[Row], chunker: ChunkerSettings, *, seed: int
) -> list[SourcePassage]:
    """Return the usable passages in an order drawn by `seed`. Titles with a document that evaluation asks about are
    left out, and so are documents of one tenant: the model answers everybody."""
    asked = {name for row in evaluation for name in row.doc_ids}
    measured = {document.title for document in corpus if document.id in asked}
    usable = [document for document in corpus if document.tenant is None and document.title not in measured]
    pieces = [(document, piece.text) for document in usable for piece in chunk([document], chunker)]
    found = [SourcePassage(document, text) for document, text in pieces if len(text.split()) >= _FEWEST_WORDS]
    random.Random(seed).shuffle(found)
    if not found:
        what = f"{len(corpus) - len(usable)} are of articles that evaluation asks about, or of one tenant"
        raise SluiceError(
            f"none of {len(corpus)} documents may be used: {what}",
            remedy="add documents to data/corpus that no row of data/eval.jsonl names",
        )
    return found


def read_reply(reply: str) -> tuple[list[tuple[str, str]], int]:
    """Return the questions of a reply with their answers, and the number of malformed objects."""
    decoder = json.JSONDecoder()
    found: list[tuple[str, str]] = []
    broken = at = 0
    while (at := reply.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(reply, at)
        except (ValueError, RecursionError):
            broken += 1
            at = reply.find("\n", at) if "\n" in reply[at:] else len(reply)
            continue
        pair = [value.get(key) for key in ("question", "answer")]
        question, answer = (" ".join(one.split()) if isinstance(one, str) else "" for one in pair)
        if question and answer:
            found.append((question, answer))
        else:
            broken += 1
    return found, broken


def span(answer: str, text: str) -> str | None:
    """Return the answer as `text` writes it in whole words, or None."""
    said = answer.strip().strip("\"'“”").rstrip(".").strip()
    if not said:
        return None
    pattern = r"\s+".join(map(re.escape, said.split()))
    found = re.search(rf"(?<![0-9A-Za-z]){pattern}(?![0-9A-Za-z])", text, re.IGNORECASE)
    return found[0] if found else None


def fault(question: str, answer: str, passage: str, policy: PrivacyPolicy) -> str:
    """Return the reason to refuse a question and its answer, or ""."""
    if span(answer, passage) is None:
        return "the answer is no span of its passage"
    if len(answer.split()) > _MOST_IN_ANSWER:
        return f"the answer is longer than {_MOST_IN_ANSWER} words"
    if len(words(question)) < _FEWEST_IN_QUESTION:
        return "the question is too short"
    if span(answer, question) is not None:
        return "the question holds its answer"
    if _POINTS_AT_PASSAGE.search(question):
        return "the question speaks of its passage"
    found = next(privacy.findings(f"{question}\n{answer}", policy), None)
    return "personal data or secret" if found else ""


_Draft = tuple[SourcePassage, Row]


@dataclass(frozen=True)
class GenerationSettings:
    """`each`: questions per passage; `agreement`: minimum token F1 of the second answer."""

    rows: int = 50
    each: int = 3
    seed: int = 1
    agreement: float = 0.6
    minutes: float = 30.0


@dataclass
class Role:
    chat: ChatProvider
    prompt: Prompt
    specs: tuple[ProviderSpec, ...]
    seconds: float

    def __post_init__(self) -> None:
        self.concurrency = self.specs[0].max_concurrency
        self._turns = asyncio.Semaphore(self.concurrency)

    async def ask(self, seed: int | None = None, **values: object) -> Reply | None:
        """Return the reply, or None if the provider fails for this passage alone."""
        parameters = self.prompt.parameters.model_copy(update={} if seed is None else {"seed": seed})
        async with self._turns:
            deadline = asyncio.get_running_loop().time() + self.seconds
            try:
                stream = self.chat.stream(self.prompt.render(**values), parameters, deadline=deadline)
                async with aclosing(stream):
                    deltas = [delta async for delta in stream]
            except ProviderError as error:
                if error.failure not in _OF_ONE_PASSAGE:
                    raise
                return None
        last, first = deltas[-1], self.specs[0]
        by = f"{last.provider}/{last.model}" if last.provider else f"{first.name}/{first.model}"
        return "".join(delta.text for delta in deltas), by


def generate_rows(
    workspace: Workspace, settings: GenerationSettings, policy: PrivacyPolicy, *, checked_by: str = TEACHER
) -> Proposals:
    measured = load_rows(workspace.data / "eval.jsonl")
    known = [*load_rows(workspace.data / "train.jsonl"), *measured]
    chunker = load_params(workspace.params, "index", IndexParameters).chunker
    passages = choose_passages(load_corpus(workspace.data / "corpus"), measured, chunker, seed=settings.seed)
    providers = load_providers(workspace.config / "providers.yaml", roles=Models.roles())
    service = load_settings(workspace.config / "service.yaml", ServiceSettings)
    cache = ResponseCache(workspace.state / FOLDER)
    chats: dict[str, ChatProvider] = {}
    roles = []
    with ExitStack() as opened:
        for role, name in ((TEACHER, "generate"), (checked_by, "answer")):
            if role not in PROMPT_ROLES or not (specs := getattr(providers, role)):
                remedy = "list a provider there; engine/docs/reference/providers.md lists the keys of an entry"
                raise SluiceError(f"config/providers.yaml: no provider in the role {role}", remedy=remedy)
            if role not in chats:
                chats[role] = opened.enter_context(open_role(workspace, providers, role, cache))
            prompt = load_prompt(workspace.prompts / f"{name}.prompt.yml", roles=PROMPT_ROLES)
            roles.append(Role(chats[role], prompt, specs, service.llm.timeout_seconds))
        return Generation(known, roles[0], roles[1], service.decline, settings, policy).over(passages)


@dataclass
class Generation:
    """One run; `decline` is the checker's reply if it finds no answer."""

    known: Sequence[Row]
    writer: Role
    checker: Role
    decline: str
    settings: GenerationSettings
    policy: PrivacyPolicy

    def __post_init__(self) -> None:
        # For training alone: what measures is written by people.
        self.found = Proposals("generated", "Rows that a model proposes", _INTRO, sides=("train",))

    def over(self, passages: Sequence[SourcePassage]) -> Proposals:
        """Return proposals in the order of the passages, however quick each reply was."""
        try:
            asyncio.run(self._over(passages))
        except ProviderError as error:
            remedy = "nothing was written; run the same command to continue where it stopped"
            raise SluiceError(f"a model could not be asked: {error.message}", remedy=remedy) from error
        if not self.found.proposals:
            why = "".join(f"\n  {number} × {what}" for what, number in self.found.left_out.most_common())
            remedy = "try another teacher in config/providers.yaml, another --seed, or edit prompts/generate.prompt.yml"
            raise SluiceError(f"nothing survived of what was written:{why}", remedy=remedy)
        return self.found

    async def _over(self, passages: Sequence[SourcePassage]) -> None:
        kept, wanted, size = self.found.proposals, self.settings.rows, self.writer.concurrency
        ends, reporter = monotonic() + self.settings.minutes * 60, StageReporter("generate")
        for start in range(0, len(passages), size):
            if len(kept) >= wanted:
                break
            if monotonic() >= ends:
                self.found.leave_out("passages that were not reached in time", len(passages) - start)
                break
            batch = passages[start : start + size]
            replies = await asyncio.gather(*map(self._write, batch))
            written = [(one, row) for one, reply in zip(batch, replies, strict=True) for row in self._rows(one, reply)]
            drafts = self._fresh(written)
            for draft, reply in zip(drafts, await asyncio.gather(*map(self._answer, drafts)), strict=True):
                self._judge(draft, reply)
            self.found.leave_out("more than were wanted", len(kept[wanted:]))
            del kept[wanted:]
            reporter.report(len(kept), wanted, "rows")

    async def _write(self, one: SourcePassage) -> Reply | None:
        values = {"title": one.document.title, "passage": one.text, "count": self.settings.each}
        return await self.writer.ask(self.settings.seed, **values)

    async def _answer(self, draft: _Draft) -> Reply | None:
        passage, row = draft
        document = passage.document
        hit = Hit(chunk_id="", doc_id=document.id, title=document.title, text=passage.text, score=0.0, similarity=0.0)
        return await self.checker.ask(passages=format_passages([hit]), question=row.question, decline=self.decline)

    def _rows(self, passage: SourcePassage, reply: Reply | None) -> Iterator[Row]:
        if reply is None:
            self.found.leave_out("the teacher gave no reply")
            return
        text, teacher = reply
        candidates, broken = read_reply(text)
        self.found.leave_out("not in the form that was asked for", broken + (not candidates and not broken))
        for question, answer in candidates:
            if why := fault(question, answer, passage.text, self.policy):
                self.found.leave_out(why)
                continue
            prompt, document = self.writer.prompt.digest, _sha256(passage.document.text)
            yield Row(
                id=f"g-{_sha256(question)[:12]}",
                question=question,
                answers=(span(answer, passage.text) or answer,),
                doc_ids=(passage.document.id,),
                tags=("generated",),
                provenance=Provenance(teacher=teacher, prompt=prompt, document=document, seed=self.settings.seed),
            )

    def _fresh(self, drafts: list[_Draft]) -> list[_Draft]:
        rows = [row for _, row in drafts]
        before = [one.row for one in self.found.proposals]
        in_data = set(repeats_across(self.known, rows))
        again = {number - len(before) for number in repeats_within([*before, *rows])} - in_data
        again -= set(range(-len(before), 0))
        self.found.leave_out("nearly a question of the data", len(in_data))
        self.found.leave_out("nearly a question that was written before", len(again))
        return [draft for number, draft in enumerate(drafts) if number not in in_data | again]

    def _judge(self, draft: _Draft, answer: Reply | None) -> None:
        passage, row = draft
        text, by = answer or ("", "")
        if answer is None:
            self.found.leave_out("the model that checks gave no reply")
        elif (agreement := token_f1(text, row.answers[0])) < self.settings.agreement:
            self.found.leave_out("its answer was not found again")
        else:
            facts = {"found again": text, "by": by, "agreement": f"{agreement:.2f}"}
            self.found.proposals.append(Proposal(row, facts, passage.text))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
