"""One prompt under edit: load it, ask the same questions with the version on disk and the edit, keep the edit."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from importlib import resources
from importlib.metadata import distributions
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from sluice.core.atomic_files import write_atomic
from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows
from sluice.evaluation.application import ChainWorker, Digests, RunnerTarget, WorkerParts, model_digest
from sluice.evaluation.asked_rows import asking_order, require_rows
from sluice.evaluation.comparison import BUILT_IN, Comparison, compare
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.comparison_result import RIGHT
from sluice.evaluation.paired_cases import CaseResult, Record
from sluice.evaluation.registry import MetricBatcher, MetricResources, make_metrics
from sluice.evaluation.replay import guards_digest, search_digest
from sluice.evaluation.reports import phrasing
from sluice.evaluation.response_cache import ResponseCache, responses_folder
from sluice.evaluation.runner import run_cases
from sluice.evaluation.sequential import SequentialComparison
from sluice.llm.settings import PROMPT_ROLES
from sluice.prompts import Prompt, load_prompts
from sluice.prompts.prompt import SUFFIX, parse_prompts
from sluice.prompts.prompt_diff import word_diff
from sluice.serving.chat_page import load_page, page_headers
from sluice.serving.release_parts import PROMPT, ReleaseBundle
from sluice.serving.replies import EventStream, error_response, event
from sluice.serving.runner import ApplicationRunner
from sluice.serving.runtime import open_guards

_RIGHTNESS = ("share", "answer", "higher")  # unit, needs and direction of a metric that calls an answer right
CASES = 40  # questions of one comparison, at most
_NAME = f"prompts/{PROMPT}{SUFFIX}"
_COMMANDS = (
    f'git switch -c edit-{PROMPT}-prompt && git commit -m "Edit the {PROMPT} prompt" {_NAME}',
    f"git push -u origin edit-{PROMPT}-prompt",
)


class PromptLab:
    """The lab of one checkout. It chats with the given application until an edit is kept, then with a new one."""

    def __init__(self, workspace: Workspace, bundle: ReleaseBundle, application: Any) -> None:
        self.application = application
        self._workspace, self._bundle = workspace, bundle
        self._path = workspace.root / _NAME
        self._chat = application.services.models["chat"].provider
        self._search: Any = application.services.retriever.search
        self._cache = ResponseCache(responses_folder(workspace.state))
        self._digests = model_digest(bundle), search_digest(bundle)
        first = bundle.providers.chat[0]
        self._side_by_side = bundle.service.llm.slots if first.kind == "local" else first.max_concurrency
        self._turns = asyncio.Semaphore(self._side_by_side)
        self._running: asyncio.Future[Any] | None = None
        rows = load_rows(workspace.data / "eval.jsonl")
        require_rows(rows)
        self._rows = asking_order(rows)[:CASES]
        # Metrics that decide and whose libraries are installed. With so few questions some have too few cases to be
        # judged, and must not hold up the verdict of the others.
        policy = load_policy(workspace.config / "gates.yaml")
        installed = {one.name for one in distributions()}
        made = make_metrics(MetricResources(MetricBatcher(self._search.embedder.embed)))
        self._metrics = [m for m in made if policy.of(m.name).decides != "never" and installed.issuperset(m.libraries)]
        rules = {one.name: policy.of(one.name) for one in (*BUILT_IN, *self._metrics)}
        relaxed = {
            name: rule.model_copy(update={"decides": "when_asked"}) if rule.decides == "always" else rule
            for name, rule in rules.items()
            if rule.decides != "never"
        }
        self._policy = policy.model_copy(update={"metrics": relaxed})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.application, name)

    def load(self) -> dict[str, Any]:
        text = self._text()
        parsed = self._parsed(text).model_dump(mode="json", include={"messages", "parameters"})
        return {"path": _NAME, "text": text, "digest": digest_of(text), **parsed}

    def keep(self, text: str, digest: str) -> dict[str, Any]:
        """Write the edit and let the chat answer with it. `digest` is that of the text that the editor loaded."""
        old = self._text()
        if digest_of(old) != digest:
            raise SluiceError(
                f"{_NAME}: the file has changed since you loaded it here",
                remedy="copy your text, reload the page, and edit what is there now",
            )
        bundle = self._with(text)
        application = ApplicationRunner(bundle, *self._parts(bundle))
        write_atomic(self._path, text)
        self.application = application
        before, after = old.splitlines(), text.splitlines()
        diff = "\n".join(difflib.unified_diff(before, after, f"a/{_NAME}", f"b/{_NAME}", lineterm=""))
        return {"digest": digest_of(text), "diff": diff, "commands": _COMMANDS}

    async def compare(self, text: str, end: asyncio.Future[Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield a `row` for each question, then the `verdict`, until `end` is done or another comparison begins."""
        sides = await asyncio.to_thread(lambda: [self._target(self._with(one)) for one in (self._text(), text)])
        if self._running:
            self._running.cancel()
        self._running = end
        return self._events(sides, end)

    async def _events(
        self, sides: Sequence[RunnerTarget], end: asyncio.Future[Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        sequential = SequentialComparison(self._metrics, self._policy, len(self._rows))
        base: list[Record] = []
        head: list[Record] = []
        tasks = [asyncio.create_task(self._ask(row, sides)) for row in self._rows]
        try:
            for task in tasks:
                await asyncio.wait((task, end), return_when=asyncio.FIRST_COMPLETED)
                if end.done():
                    return
                old, new = task.result()
                base.append(old)
                head.append(new)
                yield await asyncio.to_thread(self._row, old, new)
                if len(head) in sequential.looks:
                    comparison = await asyncio.to_thread(sequential.look, base, head)
                    if comparison:
                        yield _verdict(comparison)
                        return
        finally:
            for pending in (end, *tasks):
                pending.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, row: Row, sides: Sequence[RunnerTarget]) -> list[Record]:
        async with self._turns:
            return [(await run_cases([row], side, self._metrics, concurrency=1))[0] for side in sides]

    def _row(self, *records: Record) -> dict[str, Any]:
        (change,) = compare(records[:1], records[1:], self._metrics, self._policy).cases
        answers = [str(one["answer"] or next(iter(one["errors"].values()), "no answer")) for one in records]
        cases = zip(answers, change.pair.both or (), strict=True)
        old, new = ({"answer": answer, "right": self._is_right(case)} for answer, case in cases)
        about = {key: records[0][key] for key in ("id", "question", "expected")}
        return {"type": "row", **about, "old": old, "new": new, "status": change.status, "pieces": word_diff(*answers)}

    def _is_right(self, case: CaseResult) -> bool:
        """Tell whether every metric that looks at the answer alone calls it right."""
        shares = [one.name for one in self._metrics if (one.unit, one.needs, one.direction) == _RIGHTNESS]
        return case.status == "answered" and all(case.values.get(name, 1.0) >= RIGHT for name in shares)

    def _text(self) -> str:
        try:
            return self._path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise SluiceError(f"{_NAME}: cannot be read: {error}", remedy=f"`git restore {_NAME}`") from error

    def _parsed(self, text: str) -> Prompt:
        return parse_prompts(_NAME, {_NAME: text.encode()}, roles=PROMPT_ROLES)[PROMPT]

    def _with(self, text: str) -> ReleaseBundle:
        """The served bundle with the prompts of the checkout, and the edited one in its place."""
        edited = {PROMPT: self._parsed(text)}
        return replace(self._bundle, prompts=load_prompts(self._workspace.prompts, roles=PROMPT_ROLES) | edited)

    def _parts(self, bundle: ReleaseBundle) -> tuple[Any, Any, Any]:
        return self._chat, self._search, open_guards(bundle, self._search.embedder)

    def _target(self, bundle: ReleaseBundle) -> RunnerTarget:
        digests, parts = Digests(*self._digests, guards_digest(bundle)), WorkerParts(*self._parts(bundle))
        worker = ChainWorker(bundle, self._cache, digests, parts, replay=False)
        worker.search.embedder = self._search.embedder
        many = self._side_by_side
        return RunnerTarget(worker, lambda: [worker] * many, self._cache, concurrency=many)


def _verdict(comparison: Comparison) -> dict[str, Any]:
    document = comparison.as_dict()
    return {
        "type": "verdict",
        "title": phrasing.title(comparison),
        "sentence": phrasing.sentence(comparison),
        "figures": [one for one in document["metrics"] if one["decides"] != "never"],
        "asked": comparison.asked,
        "planned": comparison.planned,
        "stopped": comparison.stopped,
        **{key: document[key] for key in ("verdict", "passed", "reasons")},
    }


class EditedPrompt(Settings):
    text: str
    digest: str = ""


def prompt_lab(workspace: Workspace, bundle: ReleaseBundle) -> Callable[..., Any]:
    """Return the part of a service that adds the prompt lab, for `create_app`."""

    def add(api: FastAPI, application: Any, _metrics: Any) -> Any:
        lab = PromptLab(workspace, bundle, application)
        _add_routes(api, lab, bundle)
        return lab, lambda app: app

    return add


def _add_routes(api: FastAPI, lab: PromptLab, bundle: ReleaseBundle) -> None:
    def text_of(package: str, name: str) -> str:
        return resources.files(package).joinpath(name).read_text(encoding="utf-8")

    style = text_of("sluice.core.html_theme", "house.css")
    html = text_of("sluice.extras.prompt_lab", "index.html").replace("/* house.css */", style)
    chat, headers = load_page(bundle.service.page)
    framed = {key: text.replace("frame-ancestors 'none'", "frame-ancestors 'self'") for key, text in headers.items()}

    @api.exception_handler(SluiceError)
    async def refused(_: Request, error: SluiceError) -> Response:
        return error_response(400, str(error), code="invalid_prompt")

    @api.get("/try", include_in_schema=False)
    async def page() -> Response:
        return Response(html, media_type="text/html", headers=page_headers(html, frames="'self'"))

    @api.get("/try/chat", include_in_schema=False)
    async def framed_chat() -> Response:
        return Response(chat, media_type="text/html", headers=framed)

    @api.get("/try/prompt", include_in_schema=False)
    async def prompt() -> Response:
        return JSONResponse(lab.load())

    @api.post("/try/compare", include_in_schema=False)
    async def compare(edited: EditedPrompt, connection: Request) -> Response:
        gone = asyncio.ensure_future(connection.receive())  # after the body only one message can come
        try:
            items = await lab.compare(edited.text, gone)
        except BaseException:
            gone.cancel()
            raise
        return EventStream(_events(items), items, media_type="text/event-stream")

    @api.post("/try/keep", include_in_schema=False)
    async def keep(edited: EditedPrompt) -> Response:
        return JSONResponse(await asyncio.to_thread(lab.keep, edited.text, edited.digest))


async def _events(items: AsyncGenerator[dict[str, Any], None]) -> AsyncGenerator[bytes, None]:
    try:
        async for item in items:
            yield event(item)
    except SluiceError as error:
        yield event({"type": "error", "message": str(error)})
