"""Runs the examples of docs/ inside a copy of the repository that has all of them, as test_guides.py calls it.

A service is the real one, without the checks that need a model; model and search are scripts.
"""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluice.core.settings import load_settings
from sluice.data.rows import Row
from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.registry import Output, make_metrics
from sluice.evaluation.runner import run_cases
from sluice.extend import testing
from sluice.guardrails.guards import Guards
from sluice.guardrails.settings import GuardrailSettings
from sluice.llm.providers import ProviderContext, connect
from sluice.llm.settings import load_providers
from sluice.prompts import ModelParameters, load_prompts
from sluice.rollout.canary_plan import load_plan
from sluice.serving.api_keys import add_key
from sluice.serving.auth import KeyRing
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.routing import load_router
from sluice.serving.runner import ApplicationRunner
from unit.serving.client import Client

ROOT = Path.cwd()
GATES = ROOT / "config" / "gates.yaml"
# Both wordings are right, so that nothing but the share of digits tells them apart.
WORDINGS = {"words": "sixty-four tokens", "digits": "64"}
PASSAGE = "Neighbouring chunks share 64, that is sixty-four tokens."
CASES = [
    Row(id=f"c{n:02}", question=f"What is item {n:02}?", answers=tuple(WORDINGS.values()), doc_ids=("chunking",))
    if n < 30
    else Row(id=f"c{n:02}", question=f"What is item {n:02}?", answers=(), doc_ids=())
    for n in range(60)
]
GREETING = "Hello!"


def service(folder: Path) -> tuple[Client, testing.ScriptedChat]:
    bundle = testing.scripted_bundle(limits={"max_body_bytes": 4096, "max_concurrent": 64})
    bundle = replace(bundle, prompts=load_prompts(ROOT / "prompts"))
    hits = {row.question: [testing.hit(PASSAGE, doc_id="chunking")] if row.answers else [] for row in CASES}
    chat = testing.ScriptedChat({"What is item": WORDINGS["words"], GREETING: "Good day."})
    guards = load_settings(ROOT / "config" / "guardrails.yaml", GuardrailSettings)
    plain = tuple(one for one in guards.input if one.check == "ticket")
    checks = Guards(guards.model_copy(update={"input": plain, "passages": (), "output": (), "timeout_seconds": 60}))
    application = ApplicationRunner(bundle, chat, testing.ScriptedRetriever(hits), checks)
    keys = KeyRing(folder / "keys.json")
    return Client(create_app(bundle, application, TrafficState(), keys=keys, router=load_router())), chat


class Recorded:
    def __init__(self, wording: str) -> None:
        self._wording = wording

    async def ask(self, row: Row, *, trial: int) -> Output:
        del trial
        return Output(
            text=WORDINGS[self._wording] if row.answers else testing.DECLINE,
            declined=not row.answers,
            retrieved=row.doc_ids,
            citations=row.doc_ids,
            latency_ms=1.0,
            ttft_ms=1.0,
            prompt_tokens=1,
            completion_tokens=1,
            passages=(PASSAGE,),
            cost=0.0,
        )


def pull_request() -> dict[str, Any]:
    metrics = make_metrics()

    def records(wording: str) -> list[dict[str, Any]]:
        done = run_cases(CASES, Recorded(wording), metrics, concurrency=4, on_progress=lambda *_: None)
        return asyncio.run(done)

    policy = load_policy(GATES)
    known = {metric.name for metric in metrics}
    policy = policy.model_copy(update={"metrics": {n: one for n, one in policy.metrics.items() if n in known}})
    found = compare(records("words"), records("digits"), metrics, policy)
    return {"verdict": found.verdict, "worse": [one.name for one in found.deciding if one.verdict == "worse"]}


def provided() -> dict[str, Any]:
    spec = load_providers(ROOT / "config" / "providers.yaml", roles=["chat", "embed"]).chat[-1]

    async def text() -> str:
        until = asyncio.get_running_loop().time() + 600
        parts = connect(ProviderContext(spec)).stream([], ModelParameters(), deadline=until)
        return "".join([part.text async for part in parts])

    return {"kind": spec.kind, "text": asyncio.run(text())}


def find(folder: Path) -> dict[str, Any]:
    key = add_key(folder / "keys.json", "web", tenant=None, scopes=("chat",), rate=10_000)
    headers = {"authorization": f"Bearer {key}"}
    client, chat = service(folder)
    found = {
        "pull_request": pull_request(),
        "blocked": client.chat("What about HD-12345?", headers=headers).json(),
        "answered": client.chat(CASES[0].question, headers=headers).json(),
        "greeted": client.chat(GREETING, headers=headers).json(),
        "endpoint": [client.send("GET", "/v1/hours", headers=headers).json(), client.get("/v1/hours").status_code],
        "documented": "/v1/hours" in client.get("/openapi.json").json()["paths"],
    }
    steps = load_plan(ROOT / "k8s" / "base" / "rollout.yaml").steps
    return {
        **found,
        "asked": list(dict.fromkeys(call["messages"][0][1] for call in chat.calls)),
        "provider": provided(),
        "tools": _tools(),
        "steps": [step.kind if step.weight is None else step.weight for step in steps],
        "analyses": [step.template for step in steps if step.template],
    }


def _tools() -> dict[str, Any]:
    application = ApplicationRunner(
        replace(testing.scripted_bundle(), prompts=load_prompts(ROOT / "prompts")),
        testing.ScriptedChat({}),
        testing.ScriptedRetriever({}),
        testing.NoChecks(),
    )
    tools = application.services.tools
    return {
        name: {
            "arguments": sorted(tool.args),
            "description": tool.description,
            "of 100": tool.invoke({"gigabytes": 100}),
        }
        for name, tool in tools.items()
    }


if __name__ == "__main__":
    print(json.dumps(find(Path(sys.argv[1]))))
