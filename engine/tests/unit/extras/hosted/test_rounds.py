"""`sluice eval` of a pull request without a key, and its rounds. The model is a stub, GitHub is played."""

import asyncio
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core.atomic_files import write_json, write_jsonl
from sluice.core.workspace import Workspace
from sluice.data.rows import load_rows, write_rows
from sluice.evaluation.application import ChainWorker, Digests, RunnerTarget, WorkerParts
from sluice.evaluation.registry import make_metrics
from sluice.evaluation.response_cache import FOLDER, ResponseCache
from sluice.evaluation.runner import run_cases
from sluice.evaluation.summary import cases_digest
from sluice.llm.model_files import Models
from sluice.llm.providers import PROVIDERS
from sluice.llm.resilience import open_chat
from sluice.llm.settings import load_providers
from sluice.prompts import load_prompts
from support.git import git
from support.serving.fakes import NoChecks, ScriptedRetriever, hit, scripted_bundle
from unit.extras.hosted.conftest import FORK, KEY, WAITING, Main, Steps, everything, hosted, lines
from unit.jobs.played_comparison import play, rows

DIGESTS = Digests("model", "search", "guards")
METRICS = ("answer_key", "decline_accuracy", "mrr", "ndcg_at_5", "citation_correctness")


def reply(messages: list[dict[str, str]]) -> str:
    number = messages[-1]["content"].rpartition("How many of ")[2].split("?")[0]
    lost = "LOST" in messages[0]["content"] and int(number) % 3 == 1
    return "many" if lost else f"{number} of them"


def evaluate(workspace: Workspace, rows_file: Path, *options: str) -> None:
    """Stand for the stage `evaluate`."""
    asked, replay = load_rows(rows_file), "--replay" in options
    providers = load_providers(workspace.config / "providers.yaml", roles=Models.roles())
    prompts = load_prompts(workspace.prompts)
    bundle = dataclasses.replace(scripted_bundle(), providers=providers, prompts=prompts)
    cache = ResponseCache(workspace.state / FOLDER)
    search = ScriptedRetriever({row.question: [hit(f"There are some. {row.question}", doc_id="a")] for row in asked})

    def workers() -> list[ChainWorker]:
        chat = None if replay else open_chat(providers.chat, local_url=None)
        parts = WorkerParts(chat, search, NoChecks())  # type: ignore[arg-type]
        return [ChainWorker(bundle, cache, DIGESTS, parts, replay=replay)] * 4

    async def run() -> list[dict[str, Any]]:
        closed = ChainWorker(bundle, cache, DIGESTS, replay=replay)
        target = RunnerTarget(closed, workers, cache, concurrency=4)
        metrics = [metric for metric in make_metrics() if metric.name in METRICS]
        return await run_cases(asked, target, metrics, concurrency=4)

    write_jsonl(rows_file.with_name("cases.jsonl"), asyncio.run(run()))
    write_json(rows_file.with_name("summary.json"), {"cases_digest": cases_digest(asked)})


class Changed:
    """Checkouts of a branch that changes the prompt: the pull request's, and one of somebody who has the key."""

    def __init__(self, main: Main, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
        self.main, self.steps, self.patch = main, steps, monkeypatch
        self.root = main.workspace.root.parent / "pull-request"
        shutil.copytree(main.workspace.root, self.root)
        (self.root / ".gitignore").write_text(".sluice/\nbuild/\n")
        dvc = Path(__file__).parents[5] / ".dvc"
        shutil.copytree(dvc, self.root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "*.local"))
        write_rows(self.root / "data" / "eval.jsonl", rows())
        git(self.root, "init", "-q", "-b", "main")
        git(self.root, "add", "-A", "-f", ".")
        git(self.root, "commit", "-q", "-m", "base")
        git(self.root, "checkout", "-q", "-b", "change")

    def edit(self, word: str) -> None:
        path = self.root / "prompts" / "answer.prompt.yml"
        path.write_text(re.sub(r"(\w+: y|Y)ou are", f"{word}: you are", path.read_text()))
        git(self.root, "commit", "-q", "-am", "change")

    def copy(self, name: str) -> Path:
        made = self.root.with_name(name)
        shutil.copytree(self.root, made)
        return made

    def compare(self, root: Path, *, attempt: int = 0, key: bool = False) -> tuple[int, str, dict[str, Any]]:
        """The step of the job `eval`; without an attempt, on a laptop."""
        self.patch.chdir(root)
        held = {"MODEL_KEY": KEY, **self.steps.role}
        for name in ("GITHUB_RUN_ID", *held):
            self.patch.delenv(name, raising=False)
        if key:
            self.steps.set(held)
        if attempt:
            runner = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": str(WAITING), "GITHUB_RUN_ATTEMPT": str(attempt)}
            self.steps.set(runner)
        done = self.main.sluice("eval", "--base", "main", "--head", "change")
        for name in ("GITHUB_ACTIONS", *self.steps.role):
            self.patch.delenv(name, raising=False)
        self.patch.chdir(self.main.workspace.root)
        return done.code, done.text, json.loads((root / "build" / "comparison" / "comparison.json").read_text())

    def answered(self, **run: Any) -> str:
        if (written := self.root / "build" / "requests.jsonl").exists():
            self.steps.waits(written.read_bytes(), **run)
        self.patch.chdir(self.main.workspace.root)
        state = self.steps.run()
        self.patch.chdir(self.root)
        code, told = self.steps.bring()
        assert code == 0, told
        return state


@pytest.fixture
def change(main: Main, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> Changed:
    play(monkeypatch, evaluate)
    main.model.reply = reply
    return Changed(main, steps, monkeypatch)


def timeless(comparison: dict[str, Any]) -> dict[str, Any]:
    kept = [metric for metric in comparison["metrics"] if metric["unit"] != "ms"]
    return {**comparison, "metrics": kept}


def test_the_comparison_is_that_of_a_run_with_the_key(change: Changed) -> None:
    change.edit("BRIEFLY")
    keyed = change.copy("keyed")
    first = change.compare(change.root, attempt=1)
    assert first[0] == 4
    assert "Waiting for answers" in first[1]
    assert "120 requests to hosted models, round 1 of 4 at most" in first[1]
    assert change.main.model.asked == []
    assert change.answered() == "ask"
    second = change.compare(change.root, attempt=2)
    assert (second[0], second[2]["verdict"]) == (0, "no difference seen")
    assert not (change.root / "build" / "requests.jsonl").exists()
    with_key = change.compare(keyed, key=True)
    assert (with_key[0], with_key[2]["verdict"]) == (0, "no difference seen")
    assert json.dumps(timeless(second[2]), sort_keys=True) == json.dumps(timeless(with_key[2]), sort_keys=True)
    readable = everything(change.root) + b"".join(change.steps.github.archives.values())
    assert KEY.encode() not in readable + (first[1] + second[1] + change.steps.told).encode()


ROLE = {
    "AWS_ACCESS_KEY_ID": "canary-name",
    "AWS_SECRET_ACCESS_KEY": "canary-5d0bf77c41",  # pragma: allowlist secret
    "AWS_SESSION_TOKEN": "canary-c8841f0a9e",  # pragma: allowlist secret
}


def answer_on_aws(messages: list[dict[str, Any]]) -> str:
    text = messages[-1]["content"][0]["text"]
    return f"{text.rpartition('How many of ')[2].split('?')[0]} of them"


def test_a_model_on_aws_is_asked_with_the_role_of_main(change: Changed) -> None:
    if "bedrock" not in PROVIDERS:
        pytest.skip("this project has left out the kinds of provider on AWS")
    change.main.model.reply, change.steps.role = answer_on_aws, ROLE
    aws = {"kind": "bedrock", "region": "eu-west-1", "base_url": change.main.model.url, "key_env": None}
    git(change.root, "checkout", "-q", "main")
    for root in (change.main.workspace.root, change.root):
        (root / "config" / "providers.yaml").write_text(hosted(change.main.model.url, **aws))
    git(change.root, "commit", "-q", "-am", "on AWS")
    git(change.root, "checkout", "-q", "-B", "change")
    change.edit("BRIEFLY")
    keyed = change.copy("keyed")
    code, told, _ = change.compare(change.root, attempt=1)
    assert (code, "AWS_ACCESS_KEY_ID not set" in told) == (4, True)
    assert change.main.model.asked == []
    assert change.answered() == "ask"
    second = change.compare(change.root, attempt=2)
    with_role = change.compare(keyed, key=True)
    assert (second[0], with_role[0]) == (0, 0)
    assert json.dumps(timeless(second[2]), sort_keys=True) == json.dumps(timeless(with_role[2]), sort_keys=True)
    assert len(change.main.model.asked) == 240
    for one in change.main.model.asked:
        assert f"Credential={ROLE['AWS_ACCESS_KEY_ID']}/" in one.headers["authorization"]
        assert one.headers["x-amz-security-token"] == ROLE["AWS_SESSION_TOKEN"]
    readable = everything(change.root) + b"".join(change.steps.github.archives.values())
    readable += (told + second[1] + change.steps.told).encode()
    assert [name for name, value in ROLE.items() if value.encode() in readable] == []


def test_an_answer_that_holds_what_opens_aws_is_dropped(
    main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = ROLE["AWS_SESSION_TOKEN"][::-1]
    main.model.reply = lambda _: f"Here it is: {held}"
    for variable, value in ROLE.items():
        monkeypatch.setenv(variable, value)
    file = tmp_path / "requests.jsonl"
    file.write_bytes(lines(main.request()))
    done = main.sluice("answers", "ask", str(file))
    assert (done.code, main.answers) == (0, [])
    assert held.encode() not in everything(main.workspace.root) + done.text.encode()


def test_rounds_have_an_end(change: Changed) -> None:
    limits = change.root / "config" / "hosted.yaml"
    limits.write_text(limits.read_text().replace("rounds: 4", "rounds: 1"))
    change.edit("BRIEFLY")
    assert change.compare(change.root, attempt=1)[0] == 4
    code, told, _ = change.compare(change.root, attempt=2)  # nothing was answered meanwhile
    assert code == 3
    assert "without an answer after 1 rounds" in told


def test_a_run_that_may_is_not_red_while_it_waits(change: Changed, tmp_path: Path) -> None:
    change.edit("BRIEFLY")
    change.steps.set({"PENDING": "true", "GITHUB_OUTPUT": str(tmp_path / "output")})
    assert change.compare(change.root, attempt=1)[0] == 0
    assert (tmp_path / "output").read_text() == "waiting=true\n"
    assert (change.root / "build" / "requests.jsonl").exists()
    assert "Waiting for answers" in (change.root / "build" / "comparison" / "comment.md").read_text()


REFUSED = {"more than 1 requests": {"requests": 1}, "dollars at most": {"dollars_per_day": 0}}
REFUSED |= {"its author may not write": {}, "another digest than main's settings": {}}


@pytest.mark.parametrize("why", REFUSED)
def test_a_refused_run_ends_after_one_round(change: Changed, why: str) -> None:
    providers = change.root / "config" / "providers.yaml"
    if "digest" in why:
        providers.write_text(providers.read_text().replace("model: m\n", "model: dearest\n"))
    change.edit("BRIEFLY")
    change.main.limit(**REFUSED[why])
    seen: list[Any] = []
    for attempt in (1, 2, 3):
        code, told, _ = change.compare(change.root, attempt=attempt)
        seen += [code, why in told, change.answered(**{"head_repository": FORK} if "author" in why else {})]
    assert seen == [4, False, "refused", 3, True, "none", 3, True, "none"]
    assert change.steps.github.again == [WAITING], "and nothing runs it again"
    assert change.main.model.asked == []


def test_a_model_in_reserve_on_main_may_answer_first_in_a_pull_request(change: Changed) -> None:
    for root in (change.main.workspace.root, change.root):
        path = root / "config" / "providers.yaml"
        providers = yaml.safe_load(path.read_text())
        providers["chat"].append({**providers["chat"][0], "name": "newer", "model": "n"})
        path.write_text(yaml.safe_dump(providers))
    providers["chat"].reverse()
    (change.root / "config" / "providers.yaml").write_text(yaml.safe_dump(providers))
    change.edit("BRIEFLY")
    assert change.compare(change.root, attempt=1)[0] == 4
    assert change.answered() == "ask"
    assert change.compare(change.root, attempt=2)[0] == 0
    assert {one.json["model"] for one in change.main.model.asked} == {"m", "n"}


def test_on_a_laptop_nobody_answers_and_the_verdict_stays(change: Changed) -> None:
    change.edit("BRIEFLY")
    code, told, comparison = change.compare(change.root)
    assert (code, comparison["verdict"]) == (3, "not evaluated")
    assert "Waiting" not in told
    assert (change.root / "build" / "requests.jsonl").read_text().count("\n") == 120
