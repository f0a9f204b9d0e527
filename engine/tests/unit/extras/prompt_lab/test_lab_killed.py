"""The prompt lab is killed, and started again."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from sluice.core.digests import digest_of
from sluice.core.workspace import Workspace
from sluice.serving.middleware import TrafficState
from unit.extras.prompt_lab.lab_service import BRIEF, Chat, lab_app, within
from unit.serving.process import Service

pytestmark = pytest.mark.real


def git(workspace: Workspace, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"]
    command = ["git", *who, *words]
    return subprocess.run(command, cwd=workspace.root, check=True, capture_output=True, text=True).stdout


def assert_it_works_again(workspace: Workspace, path: Path) -> None:
    async def steps(client: httpx.AsyncClient) -> None:
        prompt = (await client.get("/try/prompt")).json()
        assert prompt["text"] == path.read_text()
        changed = prompt["text"].replace("maxTokens: 160", "maxTokens: 150")
        compared = await client.post("/try/compare", json={"text": changed})
        assert json.loads(compared.text.split("\n\n")[-2].removeprefix("data: "))["type"] == "verdict"
        kept = await client.post("/try/keep", json={"text": changed, "digest": prompt["digest"]})
        assert kept.status_code == 200
        assert path.read_text() == changed

    within(lab_app(workspace, Chat(), TrafficState()), steps)


@pytest.mark.parametrize("step", ["half written", "written", "renamed"])
def test_killed_within_keep_it_leaves_the_old_prompt_or_the_new_one(
    workspace: Workspace, root: Path, step: str
) -> None:
    path = workspace.prompts / "answer.prompt.yml"
    before = path.read_text()
    edited = before.replace("Answer the question", f"{BRIEF} Answer the question", 1)
    shutil.copy(root / ".gitignore", workspace.root)
    for words in (["init", "--quiet"], ["add", "."], ["commit", "-qm", "first"]):
        git(workspace, *words)
    service = Service(f"{str(workspace.root)!r}", f"{step!r}", of="unit.extras.prompt_lab.lab_service")
    try:
        body = {"text": edited, "digest": digest_of(before)}
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(service.url + "/try/keep", json=body, timeout=120, trust_env=False)
        assert service.process.wait(60) == -9
    finally:
        service.stop()
    assert path.read_text() == (edited if step == "renamed" else before)
    drafts = [draft.read_text() for draft in path.parent.iterdir() if draft.name.startswith(".")]
    half = edited.encode()[: len(edited.encode()) // 2].decode()
    assert drafts == {"half written": [half], "written": [edited], "renamed": []}[step]
    assert git(workspace, "status", "--porcelain") == (" M prompts/answer.prompt.yml\n" if step == "renamed" else "")
    assert_it_works_again(workspace, path)
