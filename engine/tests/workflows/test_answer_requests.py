"""A pull request without a key, as GitHub would run it: ci.yml, answer-requests.yml, ci.yml again."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
import yaml

from support.actions_api import TOKEN, ActionsApi, actions_api, archive
from support.providers.server import Upstream, upstream
from unit.extras.hosted.conftest import hosted
from workflows.act import Run
from workflows.scratch import pull_request, repository
from workflows.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

KEY = "canary-5f1d0c77e2b94a6f"
ROLE = "arn:aws:iam::000000000000:role/evaluation"
SIGNED_IN = ("played-secret-access-key", "played-session-token")  # of actions/configure-aws-credentials


def alone(ci: str) -> str:
    content = yaml.safe_load(re.sub(r"contains\(needs\.plan\.outputs\.parts, '\w+'\)", "true", ci))
    content["on"] = content.pop(True)  # YAML 1.1 reads the key `on` as true
    job = content["jobs"]["eval"]
    content["jobs"] = {"eval": {key: value for key, value in job.items() if key not in ("needs", "if")}}
    return yaml.safe_dump(content, sort_keys=False, width=1000)


def reply(messages: list[dict[str, str]]) -> str:
    question = messages[-1]["content"].rpartition("Question: ")[2].strip(" ?\n")
    return " ".join(question.split()[-2:])


def zipped(bare: World, name: str, *, run: int) -> bytes:
    files = bare.artifact(name, run=run).iterdir()
    return archive(**{path.name.replace(".", "__"): path.read_bytes() for path in files})


@dataclass
class Rounds:
    runs: list[Run] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)


def asked_by_main(bare: World, api: ActionsApi, number: int = 900) -> Run:
    bare.scratch.git("checkout", "--quiet", "main")
    fork = {"id": 2, "full_name": "somebody/app"}
    ended = {"id": 500, "event": "pull_request", "conclusion": "failure", "run_attempt": 1, "head_repository": fork}
    event = {"workflow_run": ended, "repository": {**repository(), "id": 1}}
    api.add_run(number, "answer-requests.yml", branch="main", created_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    return bare.runner.run(
        "answer-requests.yml",
        "workflow_run",
        event,
        secrets={"GITHUB_TOKEN": TOKEN, "PROVIDER_KEYS": f"MODEL_KEY={KEY}"},
        variables={"AWS_EVALUATION_ROLE_ARN": ROLE, "AWS_REGION": "eu-west-1"},
        environment={"GITHUB_RUN_ID": str(number), "GITHUB_RUN_ATTEMPT": "1", "GITHUB_API_URL": api.url},
    )


@pytest.fixture(scope="module")
def model() -> Iterator[Upstream]:
    with upstream() as server:
        server.reply = reply
        yield server


@pytest.fixture(scope="module")
def api(bare: World) -> Iterator[ActionsApi]:
    with actions_api() as played:
        played.comments = bare.github.comments
        yield played


@pytest.fixture(scope="module")
def rounds(bare: World, api: ActionsApi, model: Upstream) -> Rounds:
    scratch, found = bare.scratch, Rounds()
    scratch.write(".github/workflows/ci.yml", alone((scratch.root / ".github/workflows/ci.yml").read_text()))
    scratch.write(
        "config/providers.yaml", hosted(model.url, timeouts={"connect": 60, "queue": 300, "first_token": 300})
    )
    scratch.base = scratch.commit("A hosted model")
    scratch.edit_prompt("change", "A prompt")

    def compared(attempt: int) -> None:
        scratch.git("checkout", "--quiet", "change")
        event, address = pull_request(scratch), {"GITHUB_API_URL": api.url}
        found.runs.append(bare._run("ci.yml", "pull_request", event, number=500, attempt=attempt, **address))
        found.asked.append(len(model.asked))
        (comment,) = bare.github.comments.values()
        found.comments.append(comment["body"])

    api.add_run(500)
    compared(1)
    api.archives[500, "requests-1"] = zipped(bare, "requests-1", run=500)
    found.runs.append(asked_by_main(bare, api))
    found.asked.append(len(model.asked))
    api.archives[900, "answers-500"] = zipped(bare, "answers-500", run=900)
    compared(2)
    return found


def test_the_job_waits_and_says_so(bare: World, rounds: Rounds) -> None:
    first = rounds.runs[0]
    assert first.status == 1
    assert rounds.asked[0] == 0
    assert "### Waiting for answers" in rounds.comments[0]
    assert "### Waiting for answers" in first.job("eval").summary
    assert first.job("eval").ran
    assert (bare.artifact("requests-1", run=500) / "requests.jsonl").is_file()


def test_main_asks_and_runs_the_job_again(bare: World, api: ActionsApi, rounds: Rounds) -> None:
    answering = rounds.runs[1]
    assert answering.results == {"answer-requests/waiting": "success", "answer-requests/answer": "success"}
    assert bare.kept("assumed") == [ROLE], "main signs in as who may ask models"
    requests = (bare.artifact("requests-1", run=500) / "requests.jsonl").read_text().splitlines()
    assert rounds.asked[1] == len(requests) > 0
    assert api.again == [500]
    reserved, used = (
        json.loads((bare.artifact(name, run=900) / "spend.json").read_text())
        for name in ("spend-reserved-1", "spend-used-1")
    )
    assert 0 < used["dollars"] < reserved["dollars"]
    assert (used["run"], used["change"]) == (500, "octo/app:change")


def test_the_second_attempt_has_a_verdict_and_asks_nothing(rounds: Rounds) -> None:
    assert rounds.runs[2].status == 0
    assert rounds.asked[2] == rounds.asked[1]
    assert "No difference seen" in rounds.comments[1]


def test_nothing_that_the_pull_request_reads_has_the_key(bare: World, api: ActionsApi, rounds: Rounds) -> None:
    kept = [path for run in (500, 900) for path in (bare.runner.place / "artifacts" / str(run)).rglob("*")]
    texts = [path.read_bytes() for path in kept if path.is_file()] + [*api.archives.values()]
    texts += [run.log.encode() for run in rounds.runs] + [comment.encode() for comment in rounds.comments]
    assert len(texts) > 8
    assert [text for text in texts for hidden in (KEY, *SIGNED_IN) if hidden.encode() in text] == []


def test_every_step_has_run(bare: World, rounds: Rounds) -> None:
    bare.runs.append(rounds.runs[1])
    assert bare.missed("answer-requests.yml") == set()


def test_main_refuses_what_is_hostile_first(bare: World, api: ActionsApi, rounds: Rounds, model: Upstream) -> None:
    before, again, number = len(model.asked), len(api.again), 901
    api.add_run(500)
    good = json.loads((bare.artifact("requests-1", run=500) / "requests.jsonl").read_text().splitlines()[0])
    hostile = json.dumps(good | {"base_url": "http://169.254.169.254/latest"}).encode() + b"\n"
    api.archives[500, "requests-1"] = archive(requests__jsonl=hostile)
    run = asked_by_main(bare, api, number)
    assert run.results == rounds.runs[1].results
    assert run.job("answer").outputs["check.state"] == "refused"
    assert len(model.asked) == before
    kept = {path.name: path for path in (bare.runner.place / "artifacts" / str(number)).iterdir()}
    assert [*kept] == ["answers-500"], "nothing is reserved and nothing spent"
    (published,) = [json.loads(line) for line in (kept["answers-500"] / "answers.jsonl").read_text().splitlines()]
    assert [*published] == ["refused"]
    assert len(api.again) == again + 1, "it is run again to read why"
    assert not [hidden for hidden in (KEY, *SIGNED_IN) if hidden in run.log + json.dumps(published)]
