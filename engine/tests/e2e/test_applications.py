"""A project whose application is an agent with tools, or an async function without LangChain.

Each is compared, released and served. The model is a scripted server of OpenAI's API.
"""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.core.processes import free_port, wait_until
from support.checkout import Checkout
from support.local_server import answers
from support.providers.server import Calls, Upstream, upstream

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

ANSWER = "A canary takes a small share of the requests. It is watched."
QUESTION = "What is a canary release?"
HEAD = '''"""The application of a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler

from sluice.extend import Application, Services, format_passages


class Seen(AsyncCallbackHandler):
    """Notes which runs LangChain tells of."""

    def note(self, what: str) -> None:
        with Path(SEEN).open("a", encoding="utf-8") as file:
            print(what, file=file)

    async def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        self.note("model")

    async def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.note("model end")

    async def on_retriever_start(self, *_: Any, **__: Any) -> None:
        self.note("retriever")

    async def on_tool_start(self, serialized: dict[str, Any], *_: Any, **__: Any) -> None:
        self.note(f"tool {serialized['name']}")
'''
AGENT = '''

def build(services: Services) -> Application:
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    @tool
    async def handbook(question: str) -> str:
        """Searches the handbook."""
        return format_passages(await services.retriever.ainvoke(question))

    tools = [handbook, *services.tools.values()]
    agent = create_agent(services.chat(), tools, system_prompt="Answer from the handbook.")
    return agent.with_config(callbacks=[Seen()])
'''
FUNCTION = f'''"""The application of a test, without LangChain."""

from __future__ import annotations

from typing import Any

from sluice.extend import Application, Services


def build(services: Services) -> Application:
    async def answer(asked: dict[str, Any]) -> str:
        assert asked["question"] == services.request.question
        return {ANSWER!r}

    return answer
'''
# The first is live without a canary: there is nothing to compare it with.
APPLICATIONS = {"function": FUNCTION, "agent": HEAD + AGENT}
RUNS = {
    "agent": ["model", "model end", "tool handbook", "retriever", "model", "model end"],
    "function": [],
}


def reply(messages: list[dict[str, Any]]) -> str | Calls:
    last = messages[-1]
    if messages[0]["content"].startswith("Answer from the handbook.") and last["role"] == "user":
        return (("c1", "handbook", json.dumps({"question": last["content"]})),)
    return ANSWER


@pytest.fixture(scope="module")
def model() -> Iterator[Upstream]:
    with upstream() as server:
        server.reply = reply
        yield server


@pytest.fixture(scope="module")
def project(checkout: Checkout, model: Upstream) -> Checkout:
    checkout.git("add", "--all")
    checkout.commit("all")
    status, said = checkout.run("init", "--without", "finetune,guard,language")
    assert status == 0, said

    def ask_the_server(providers: dict[str, Any]) -> None:
        entry = providers["chat"][0] | {"kind": "openai_compatible", "name": "hosted", "model": "m"}
        providers["chat"] = [entry | {"base_url": f"{model.url}/v1"}]

    checkout.edit("config/providers.yaml", ask_the_server)
    checkout.commit("a hosted model")
    return checkout


@pytest.fixture(scope="module", params=APPLICATIONS)
def released(request: pytest.FixtureRequest, project: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    seen = tmp_path_factory.mktemp("seen") / request.param
    source = APPLICATIONS[request.param].replace("SEEN", repr(str(seen)))
    (project.root / "src" / "assistant" / "app.py").write_text(source)
    first = not project.live
    if not first:
        status, compared = project.run("eval", "--base", "HEAD")
        assert status == 0, compared
    project.commit(request.param)
    changed = set(project.git("diff", "--name-only", "HEAD~1").split())
    # data.dvc has the few cases of this clone, and a checkout that has made a release has a lock of DVC.
    assert changed - {"data.dvc", "pipelines/dvc.lock"} == {"src/assistant/app.py"}
    made = project.release()
    assert (made.status, made.verdict, made.rehearsed) == (0, "promoted", not first), made.output
    return seen


@pytest.fixture
def address(project: Checkout, released: Path) -> Iterator[str]:  # noqa: ARG001 - there is a release
    port = free_port()
    service = project.start("serve", "--port", str(port))
    try:
        address = f"http://127.0.0.1:{port}"
        assert wait_until(lambda: answers(f"{address}/readyz"), seconds=600)
        yield address
        service.send_signal(signal.SIGTERM)
        assert service.wait(240) == 0
    finally:
        service.kill()


def test_it_answers_streaming_and_not_and_its_handler_sees_it(project: Checkout, released: Path, address: str) -> None:
    url, body = f"{address}/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION}]}
    for stream in (False, True):
        released.unlink(missing_ok=True)
        answer = httpx.post(url, json={**body, "stream": stream}, timeout=600)
        assert (answer.status_code, answer.headers["x-sluice-release"]) == (200, project.live)
        if stream:
            events = [json.loads(one) for one in re.findall(r"^data: (\{.*\})$", answer.text, re.MULTILINE)]
            pieces = [one["choices"][0]["delta"].get("content") for one in events if one["choices"]]
            assert len([piece for piece in pieces if piece]) > 1 or released.name == "function"
            text = "".join(piece or "" for piece in pieces)
        else:
            text = answer.json()["choices"][0]["message"]["content"]
        assert text == ANSWER
        assert (released.read_text().splitlines() if released.exists() else []) == RUNS[released.name]
    cases = (project.root / "build" / "evaluation" / "cases.jsonl").read_text().splitlines()
    answered = {json.loads(case)["answer"] for case in cases}
    assert ANSWER in answered, "the evaluation did not ask this application"
