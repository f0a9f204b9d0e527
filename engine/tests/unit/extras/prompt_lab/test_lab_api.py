import asyncio
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.core.digests import digest_of
from sluice.core.workspace import Workspace
from sluice.evaluation.sequential import SequentialComparison
from sluice.extras.prompt_lab import lab as lab_module
from sluice.prompts import load_prompts
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.testing.fakes import run_application, scripted_bundle
from support.git import commit_all, git
from unit.extras.prompt_lab.lab_service import BRIEF, REPLIES, Chat, Search, lab_app, within
from unit.serving.client import Client


@pytest.fixture
def chat() -> Chat:
    return Chat()


@pytest.fixture
def path(workspace: Workspace) -> Path:
    return workspace.prompts / "answer.prompt.yml"


@pytest.fixture
def app(workspace: Workspace, chat: Chat) -> Any:
    return lab_app(workspace, chat, TrafficState())


def post(app: Any, address: str, **body: str) -> httpx.Response:
    return Client(app).send("POST", address, json=body)


def refusal(app: Any, path: Path, address: str, **body: str) -> str:
    """Return why an edit is refused, which leaves the file as it was."""
    before = path.read_text()
    response = post(app, address, **body)
    assert response.status_code == 400
    assert path.read_text() == before
    return str(response.json()["error"]["message"])


def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [json.loads(part.removeprefix("data: ")) for part in response.text.split("\n\n") if part]


def brief(path: Path) -> str:
    text = path.read_text()
    assert "Answer the question" in text
    return text.replace("Answer the question", f"{BRIEF} Answer the question")


def test_both_versions_answer_each_question_and_a_verdict_follows(app: Any, path: Path) -> None:
    before = path.read_text()
    *rows, verdict = events(post(app, "/try/compare", text=brief(path)))
    assert {row["id"] for row in rows} == {"q1", "q2", "q3", "q4"}
    (overlap,) = [row for row in rows if row["id"] == "q1"]
    assert overlap["question"] == "How much overlap do chunks have?"
    assert overlap["expected"] == ["64 tokens"]
    assert overlap["old"] == {"answer": "Neighbouring chunks share 64 tokens.", "right": True}
    assert overlap["new"] == {"answer": "Neighbouring", "right": False}
    assert overlap["status"] == "broken"
    assert overlap["pieces"] == [[" ", "Neighbouring"], ["-", " chunks share 64 tokens."]]
    assert verdict["type"] == "verdict"
    assert verdict["verdict"] == "too few cases"  # there are four
    assert (verdict["asked"], verdict["planned"]) == (4, 4)
    assert verdict["sentence"].endswith(".")
    figures = {one["name"]: (one["base"], one["head"]) for one in verdict["figures"]}
    assert figures["answer_key"][0] > figures["answer_key"][1]
    assert path.read_text() == before


def test_a_verdict_that_is_decided_ends_the_questions(app: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Early(SequentialComparison):
        looks = (2,)

        def __init__(self, metrics: Any, policy: Any, cases: int) -> None:
            super().__init__(metrics, policy, min(cases, 2))

    monkeypatch.setattr(lab_module, "SequentialComparison", Early)
    found = events(post(app, "/try/compare", text=brief(path)))
    assert [one["type"] for one in found] == ["row", "row", "verdict"]


def test_what_is_recorded_is_not_asked_again(app: Any, chat: Chat, path: Path) -> None:
    async def steps(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post("/try/compare", json={"text": path.read_text()}) for _ in range(2)]

    _, again = within(app, steps)
    assert len(chat.asked) == len(REPLIES)  # of the first, too, one side finds the answers of the other
    assert {one["status"] for one in events(again) if one["type"] == "row"} == {"same"}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("{{question}}", "{{questoin}}", "prompts/answer.prompt.yml:13: messages.1.content: undeclared variable"),
        ("model: chat", "model: cat", "prompts/answer.prompt.yml:3: model: no role 'cat' (did you mean 'chat'?)"),
    ],
)
@pytest.mark.parametrize("address", ["/try/compare", "/try/keep"])
def test_a_wrong_edit_is_explained(app: Any, path: Path, address: str, old: str, new: str, fault: str) -> None:
    before = path.read_text()
    assert old in before
    assert fault in refusal(app, path, address, text=before.replace(old, new, 1), digest=digest_of(before))


def test_an_edit_that_the_application_cannot_use_is_not_kept(app: Any, path: Path) -> None:
    before = path.read_text()
    lines = before.replace("Question: {{question}}", "Go on.").splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if "- name: question" in line)
    text = "".join(lines[:at] + lines[at + 2 :]).split("testData:")[0]
    said = refusal(app, path, "/try/keep", text=text, digest=digest_of(before))
    assert "no message holds {{question}}" in said


def test_keep_writes_the_file_the_chat_answers_with_it_and_its_commands_push_it(
    app: Any, path: Path, workspace: Workspace, tmp_path: Path
) -> None:
    repository, remote = workspace.root, tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", str(remote))
    git(repository, "init", "--quiet")
    git(repository, "remote", "add", "origin", str(remote))
    commit_all(repository)
    for name in ("user.name", "user.email"):
        git(repository, "config", name, "t@example.invalid")
    question = {"messages": [{"role": "user", "content": "How much overlap do chunks have?"}]}

    async def steps(client: httpx.AsyncClient) -> tuple[str, Any, str]:
        chat = "/v1/chat/completions"
        before = (await client.post(chat, json=question)).json()["choices"][0]["message"]["content"]
        kept = await client.post("/try/keep", json={"text": edited, "digest": digest_of(path.read_text())})
        after = (await client.post(chat, json=question)).json()["choices"][0]["message"]["content"]
        return before, kept, after

    edited = brief(path)
    before, kept, after = within(app, steps)
    assert (before, after) == ("Neighbouring chunks share 64 tokens.", "Neighbouring")
    assert path.read_text() == edited
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(".")] == []
    reply = kept.json()
    assert reply["digest"] == digest_of(edited)
    assert "--- a/prompts/answer.prompt.yml" in reply["diff"]
    assert next(line for line in reply["diff"].splitlines() if line.startswith("+ ")).count(BRIEF) == 1
    for command in reply["commands"]:
        subprocess.run(command, shell=True, cwd=repository, check=True, capture_output=True)
    assert git(remote, "show", "edit-answer-prompt:prompts/answer.prompt.yml") == edited.strip()
    changed = git(remote, "diff", "--name-only", "edit-answer-prompt~", "edit-answer-prompt")
    assert changed == "prompts/answer.prompt.yml"


def test_a_file_that_was_changed_meanwhile_is_not_overwritten(app: Any, path: Path) -> None:
    loaded, edited = path.read_text(), brief(path)
    path.write_text(loaded + "# by somebody else\n")
    said = refusal(app, path, "/try/keep", text=edited, digest=digest_of(loaded))
    assert "has changed since you loaded it" in said


def test_a_new_comparison_ends_the_one_before(app: Any, chat: Chat, path: Path) -> None:
    async def steps(client: httpx.AsyncClient) -> list[httpx.Response]:
        never = asyncio.Event()
        chat.gate = lambda _: never.wait()
        first = asyncio.create_task(client.post("/try/compare", json={"text": brief(path)}))
        while len(chat.asked) < 3:
            await asyncio.sleep(0)
        second = await client.post("/try/compare", json={"text": path.read_text()})
        return [await asyncio.wait_for(first, 30), second]

    first, second = within(app, steps)
    assert "verdict" not in [one["type"] for one in events(first)]
    assert events(second)[-1]["type"] == "verdict"


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}])
def test_no_other_site_reaches_it(app: Any, path: Path, headers: dict[str, str]) -> None:
    before = path.read_text()
    body = {"text": brief(path), "digest": digest_of(before)}
    for address in ("/try/compare", "/try/keep"):
        assert Client(app).send("POST", address, json=body, headers=headers).status_code == 403
    assert path.read_text() == before


def test_its_page_may_frame_the_chat_and_nothing_may_frame_the_page(app: Any) -> None:
    page, chat, plain = (Client(app).get(address) for address in ("/try", "/try/chat", "/"))
    policy = "content-security-policy"
    assert "frame-src 'self'; frame-ancestors 'none'" in page.headers[policy]
    assert "frame-ancestors 'self'" in chat.headers[policy]
    assert "frame-ancestors 'none'" in plain.headers[policy]
    assert chat.text == plain.text
    assert "/* house.css */" not in page.text
    assert "unsafe" not in page.headers[policy]


def test_a_deployed_service_has_none_of_it(workspace: Workspace, chat: Chat) -> None:
    bundle = replace(scripted_bundle(), prompts=load_prompts(workspace.prompts))
    app = create_app(bundle, run_application(chat, Search(), bundle=bundle), TrafficState())
    for address in ("/try", "/try/chat", "/try/prompt"):
        assert Client(app).get(address).status_code == 404
    for address in ("/try/compare", "/try/keep"):
        assert post(app, address, text="", digest="").status_code == 404
