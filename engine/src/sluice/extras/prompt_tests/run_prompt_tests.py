"""Tests prompts against the provider of their role. A cached response starts neither a model nor an HTTP client."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_json, write_jsonl
from sluice.core.errors import SluiceError
from sluice.core.settings import load_settings, nearest
from sluice.core.workspace import Workspace
from sluice.data.rows import Row
from sluice.evaluation.registry import METRICS, Metric, Output
from sluice.evaluation.replay import RecordedChat
from sluice.evaluation.response_cache import FOLDER, ResponseCache, asking
from sluice.evaluation.runner import run_cases
from sluice.extras.prompt_tests.prompt_cases import PromptCase, cases_of
from sluice.llm.chat import ChatProvider
from sluice.llm.settings import PROMPT_ROLES, Providers, ProviderSpec, load_providers, needs_local
from sluice.prompts import Prompt, load_prompts
from sluice.serving.settings import ServiceSettings

_CHECKS = ("exact_match", "decline_accuracy", "contains", "not_contains", "regex", "json_schema")


@dataclass(frozen=True)
class PromptRun:
    """`records` has the order of `cases`, each with its `faults`; `notes` says what was not asked, and why."""

    cases: Sequence[PromptCase]
    records: Sequence[dict[str, Any]]
    notes: Sequence[str]

    @property
    def passed(self) -> int:
        return sum(not record["faults"] for record in self.records)


def run_tests(
    workspace: Workspace, names: Sequence[str] = (), *, lines: Path | None = None, replay: bool = False
) -> PromptRun:
    prompts = load_prompts(workspace.prompts, roles=PROMPT_ROLES)
    if unknown := [name for name in names if name not in prompts]:
        raise SluiceError(f"no prompt {unknown[0]!r}{nearest(unknown[0], list(prompts))}")
    providers = load_providers(workspace.config / "providers.yaml", roles=list(PROMPT_ROLES))
    chosen, notes = _askable([prompts[name] for name in names or prompts], providers, named=bool(names))
    cases = cases_of(chosen, workspace.prompts, lines)
    without = {case.prompt.name for case in cases}
    notes += [f"{prompt.name}: it has no cases (testData)" for prompt in chosen if prompt.name not in without]
    notes += [f"{case.row.id}: it checks nothing" for case in cases if not case.checks]
    cases = [case for case in cases if case.checks]
    if not cases:
        raise SluiceError("\n".join(["there is no case that could fail", *notes]), remedy="add `expected` to testData")
    store = ResponseCache(workspace.state / FOLDER)
    records: dict[str, dict[str, Any]] = {}
    for role in PROMPT_ROLES:
        if of_role := [case for case in cases if case.prompt.model == role]:
            with open_role(workspace, providers, role, store, replay=replay) as chat:
                found = _ask(workspace, of_role, chat, getattr(providers, role)[0])
            records |= {record["id"]: record for record in found}
    for case in cases:
        records[case.row.id]["faults"] = _faults(case, records[case.row.id])
    return PromptRun(cases, [records[case.row.id] for case in cases], notes)


def _faults(case: PromptCase, record: Mapping[str, Any]) -> list[str]:
    if record["status"] != "answered":
        return [f"{record['status'].replace('_', ' ')}: {next(iter(record['errors'].values()))}"]
    faults = [f"{name}: {what}" for name, what in record["errors"].items()]
    faults += [f"{name}: {held['reason']}" for name, held in record["assertions"].items() if not held["passed"]]
    if case.row.answers and record["scores"]["exact_match"] != 1:
        faults.append(f"expected: {' or '.join(map(repr, case.row.answers))}")
    if case.declines and record["scores"]["decline_accuracy"] != 1:
        faults.append(f"expected: the decline {case.decline!r}")
    return faults


def write_tests(tested: PromptRun, out: Path) -> None:
    write_jsonl(out / "cases.jsonl", tested.records)
    counts = dict.fromkeys(("answered", "failed", "not_evaluated"), 0)
    counts |= Counter(record["status"] for record in tested.records)
    write_json(out / "summary.json", {"cases": len(tested.records), "passed": tested.passed, **counts})


def _askable(prompts: Sequence[Prompt], providers: Providers, *, named: bool) -> tuple[list[Prompt], list[str]]:
    """Return the prompts whose role has a provider, and a note for each other one (an error if it was named)."""
    unasked = [prompt for prompt in prompts if not getattr(providers, prompt.model)]
    notes = [f"{one.name}: no provider in the role {one.model} of config/providers.yaml" for one in unasked]
    if notes and named:
        raise SluiceError("\n".join(notes), remedy="engine/docs/reference/providers.md lists the keys of an entry")
    return [prompt for prompt in prompts if prompt not in unasked], notes


def _ask(
    workspace: Workspace, cases: Sequence[PromptCase], chat: ChatProvider, first: ProviderSpec
) -> list[dict[str, Any]]:
    seconds = load_settings(workspace.config / "service.yaml", ServiceSettings).llm.timeout_seconds
    application = _PromptApplication(cases, chat, seconds)
    rows = [case.row for case in cases]
    checks = [check for name in _CHECKS if isinstance(check := METRICS[name], Metric)]
    return asyncio.run(run_cases(rows, application, checks, concurrency=first.max_concurrency))


class _PromptApplication:
    def __init__(self, cases: Sequence[PromptCase], chat: ChatProvider, seconds: float) -> None:
        self._cases = {case.row.id: case for case in cases}
        self._chat = chat
        self._seconds = seconds

    async def ask(self, row: Row, *, trial: int) -> Output:
        case = self._cases[row.id]
        deadline = asyncio.get_running_loop().time() + self._seconds
        text = ""
        with asking(trial) as record:
            async for delta in self._chat.stream(case.messages, case.prompt.parameters, deadline=deadline):
                text += delta.text
        seconds, first_token = record.took
        usage = delta.usage
        return Output(
            text=text.strip(),
            declined=case.declined(text),
            latency_ms=seconds * 1000,
            ttft_ms=first_token * 1000,
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
            cost=delta.cost,
            recorded=record.recorded,
        )


@contextmanager
def open_role(
    workspace: Workspace, providers: Providers, role: str, store: ResponseCache, *, replay: bool = False
) -> Iterator[RecordedChat]:
    """Open the providers of a role behind the response cache. The first request starts a model."""
    specs: tuple[ProviderSpec, ...] = getattr(providers, role)
    with ExitStack() as opened:

        def remote() -> ChatProvider:
            from sluice.llm.resilience import open_chat

            return open_chat(specs, local_url=None)

        open_it, digest = _local(workspace, role, opened) if needs_local(specs) else (remote, "")
        yield RecordedChat(store, specs, once(open_it), model_digest=digest, replay=replay)


def _local(workspace: Workspace, role: str, opened: ExitStack) -> tuple[Callable[[], ChatProvider], str]:
    """The local model; in the role chat with the adapter in build/, if there is one."""
    from sluice.evaluation.application import model_digest
    from sluice.serving.release_parts import draft_adapter, draft_bundle
    from sluice.serving.runtime import open_model

    adapter = draft_adapter(workspace)
    trained = role == "chat" and adapter and adapter.is_file()
    bundle = draft_bundle(workspace, adapter=adapter if trained else None)
    return (lambda: opened.enter_context(open_model(bundle, role))), model_digest(bundle)
