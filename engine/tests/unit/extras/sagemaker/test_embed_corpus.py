"""A corpus embedded by a processing job of SageMaker: started once, followed, its vectors made into an index here.

AWS is moto's server with what it lacks played in front of it (engine/tests/support/aws/sagemaker_server.py). The
machines are processes that run pipelines/container/job.py with the channels, folders and resourceconfig.json that
SageMaker gives them, and the real code of a shard; its embedder gives a text the same vector whatever else is embedded.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from sluice.core.closures import Program
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.rows import write_document
from sluice.extras.sagemaker import embed_corpus, recipe
from sluice.extras.sagemaker.run_results import download
from sluice.retrieval import index_stage
from sluice.retrieval.sharding import DONE
from sluice.retrieval.stores import StoreSpec, open_store
from support.aws.sagemaker_runs import BUCKET, ROOT, account, write_settings
from support.aws.sagemaker_server import Played
from unit.retrieval.conftest import Scattered, corpus

NAME = "sluice-embed"
# `sluice` in the parcel: the real code, but for the command line and the model. It notes what it embeds, and is killed
# after as many parts as DIES_AFTER says.
PLAYED_PACKAGE = f"__path__ = [*__path__, {str(ROOT / 'engine' / 'src' / 'sluice')!r}]\n"
PLAYED_CLI = """
import os, signal, sys
from functools import partial
from pathlib import Path
from sluice.core.workspace import Workspace
from sluice.retrieval import index_stage as stage
from sluice.retrieval.sharding import DONE
from sluice.retrieval.stores import StoreSpec, open_store
from sluice.retrieval.sharding import CorpusShard
from unit.extras.sagemaker.test_embed_corpus import Model

class Killed(Model):
    def embed(self, texts):
        if self.calls == int(os.environ.get("DIES_AFTER", -1)):
            os.kill(os.getpid(), signal.SIGKILL)
        print(f"embeds {len(texts)}", flush=True)
        return super().embed(texts)

def main():
    noun, verb, _, shard, _, out = sys.argv[1:]
    assert (noun, verb) == ("index", "build")
    stage.Embedder, stage.ensure = Killed, lambda *_: None
    stage.embed_share = partial(stage.embed_share, part=2)
    stage.run_shard(Workspace.find(), CorpusShard.parse(shard), Path(out))
    return 0
"""


class Model(Scattered):
    """In place of the embedder."""

    def __init__(self, *_: object, threads: int = 1) -> None:  # noqa: ARG002 - as the real one
        super().__init__()
        self.calls = 0

    def embed(self, texts: Any) -> Any:
        found = super().embed(texts)
        self.calls += 1
        return found

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        return


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, loopback: None) -> Iterator[Played]:  # noqa: ARG001 - this machine
    with account(monkeypatch) as found:
        yield found


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """Folder of an embedded PostgreSQL for all tests. It is short: the path of a socket is limited."""
    folder = Path(tempfile.mkdtemp(prefix="sl"))
    with open_store(StoreSpec(kind="embedded", path=str(folder / "pg")), folder):
        yield folder / "pg"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Path) -> Workspace:
    """A checkout of twelve documents."""
    root = tmp_path / "checkout"
    for name in ("pipelines/dvc.yaml", "pipelines/params.yaml", "pipelines/container/job.py", "config/models.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for name, text in {
        "prompts/a.prompt.yml": "",
        "pyproject.toml": "",
        "engine/src/sluice/__init__.py": PLAYED_PACKAGE,
        "engine/src/sluice/cli.py": PLAYED_CLI,
        "engine/requirements/image.txt": "",
        "config/stores.yaml": yaml.safe_dump(
            {"default": "m", "stores": {"m": {"kind": "embedded", "path": str(server)}}}
        ),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    parcel = Program(("sluice.cli",), locks=("image.txt",))
    monkeypatch.setitem(recipe.PROGRAMS, "index", parcel)
    for document in corpus(12):
        write_document(root / "data" / "corpus", document)
    write_settings(root / "config")
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    monkeypatch.setattr(index_stage, "Embedder", Model)
    monkeypatch.setattr(index_stage, "ensure", lambda *_: None)
    return Workspace(root)


Build = Callable[..., list[str]]


@pytest.fixture
def build(workspace: Workspace, played: Played) -> Build:  # noqa: ARG001 - the account
    """`sluice index build --on sagemaker --workers 2`: what it says."""

    def run(*, follow: bool = True, workers: int = 2, store: str = "") -> list[str]:
        said: list[str] = []
        embed_corpus.build(workspace, workers=workers, follow=follow, store=store, say=said.append)
        return said

    return run


def machine(folder: Path, asked: dict[str, Any], host: int, **variables: str) -> tuple[int, str]:
    """One machine of a job: its exit code and what it said. What it leaves is in the bucket then."""
    s3, hosts = boto3.client("s3"), asked["ProcessingResources"]["ClusterConfig"]["InstanceCount"]
    base = folder / asked["ProcessingJobName"] / f"algo-{host}"

    def here(path: str) -> Path:
        return base / Path(path).relative_to("/opt/ml")

    for one in asked["ProcessingInputs"]:
        assert one["S3Input"]["S3DataDistributionType"] == "FullyReplicated"
        download(s3, one["S3Input"]["S3Uri"], here(one["S3Input"]["LocalPath"]))
    (base / "config").mkdir()
    names = [f"algo-{number}" for number in range(1, hosts + 1)]
    (base / "config" / "resourceconfig.json").write_text(json.dumps({"current_host": f"algo-{host}", "hosts": names}))
    program = [sys.executable, str(here(asked["AppSpecification"]["ContainerEntrypoint"][1]))]
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "engine" / "tests"),
        "SAGEMAKER_BASE_DIR": str(base),
        "SLUICE_INSTALLED": "1",
        **variables,
    }
    words = [*program, *asked["AppSpecification"]["ContainerArguments"]]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=120)
    (output,) = asked["ProcessingOutputConfig"]["Outputs"]
    assert output["S3Output"]["S3UploadMode"] == "Continuous"
    made = here(output["S3Output"]["LocalPath"])
    for path in (one for one in made.rglob("*") if one.is_file()):
        key = f"{output['S3Output']['S3Uri']}/{path.relative_to(made)}".removeprefix(f"s3://{BUCKET}/")
        s3.upload_file(str(path), BUCKET, key)
    return done.returncode, done.stdout


def work(folder: Path, played: Played, **variables: str) -> list[str]:
    """All machines of the newest job; what each said."""
    asked = played.asked("CreateProcessingJob")[-1]
    said = []
    for host in (1, 2):
        code, words = machine(folder, asked, host, **variables)
        assert code == 0, words
        said.append(words)
    return said


def status(said: str, *, seconds: float = 60, **more: Any) -> dict[str, Any]:
    """What SageMaker answers of a job that began so many seconds ago."""
    now = time.time()
    ended = {} if said == "InProgress" else {"ProcessingEndTime": now}
    return {"ProcessingJobStatus": said, "ProcessingStartTime": now - seconds, **ended, **more}


def embedded(said: list[str]) -> int:
    return sum(int(line.split()[1]) for words in said for line in words.splitlines() if line.startswith("embeds "))


def nothing_is_loaded(workspace: Workspace) -> bool:
    return not (workspace.build / "index").exists() and not (workspace.state / "sagemaker").exists()


def test_two_machines_make_the_index_of_one_in_a_postgresql(
    workspace: Workspace, played: Played, build: Build, tmp_path: Path
) -> None:
    """Bit for bit; and a change after it embeds here what has changed alone."""
    (workspace.config / "stores.yaml").write_text("default: local\nstores:\n  local: {kind: embedded, path: pg}\n")
    started = build(follow=False)
    assert started[0].startswith("estimate  $0.06 on demand, at most $1.92, budget $5.00")
    assert started[-1].startswith(f"started   {NAME}-")
    assert nothing_is_loaded(workspace)
    assert embedded(work(tmp_path, played)) == 12
    log(played, "embeds 6")
    played.jobs = [*3 * [status("InProgress")], status("Completed", seconds=90)]
    said = build()
    assert said[0].startswith("found     arn:aws:sagemaker:eu-west-1:123456789012:processing-job/sluice-embed-")
    assert "Embed     embeds 6" in said
    assert said[-2:] == ["Embed     -- succeeded", "cost      $0.01, of 2 billed minutes on each of 2 machines"]
    assert played.count("CreateProcessingJob") == 1
    joined = {path.name: path.read_bytes() for path in (workspace.build / "index").iterdir()}
    assert not list((workspace.state / "sagemaker").iterdir())
    shutil.rmtree(workspace.state / "vectors")
    alone = index_stage.run(workspace)
    assert alone.embedded == 12
    assert {path.name: path.read_bytes() for path in (workspace.build / "index").iterdir()} == joined
    # With the job's vectors known, an incremental build goes on from them.
    shutil.rmtree(workspace.state / "vectors")
    build()
    write_document(workspace.data / "corpus", corpus(1, d0000="Another text.")[0])
    assert index_stage.run(workspace).embedded == 1


def test_a_machine_that_is_killed_loads_nothing_and_what_it_had_done_is_not_done_again(
    workspace: Workspace, played: Played, build: Build, tmp_path: Path
) -> None:
    build(follow=False)
    (asked,) = played.asked("CreateProcessingJob")
    first, second = machine(tmp_path, asked, 1), machine(tmp_path, asked, 2, DIES_AFTER="1")
    assert (first[0], second[0]) == (0, 1)
    message = (tmp_path / asked["ProcessingJobName"] / "algo-2" / "output" / "message").read_text()
    assert message.startswith("sluice index build --shard 2/2 --out ")
    assert "ended with -9" in message
    done = embedded([first[1], second[1]])
    assert embedded([second[1]]) == 2
    played.jobs = [*2 * [status("InProgress")], status("Failed", ExitMessage=message, FailureReason="exit code: 1")]
    with pytest.raises(SluiceError, match=r"failed, nothing was loaded: sluice index build --shard 2/2 ") as caught:
        build()
    assert "what is embedded already is not embedded again" in caught.value.remedy
    assert nothing_is_loaded(workspace)
    (said,) = [line for line in build(follow=False) if line.startswith("started")]
    assert said.endswith("-1, 2 machines")  # the second attempt
    again = work(tmp_path, played)
    assert embedded(again[:1]) == 0
    assert embedded(again) == 12 - done > 0
    played.jobs = [status("Completed")]
    build()
    assert (workspace.build / "index" / "index.json").is_file()


def test_a_job_that_says_it_is_done_without_a_shard_is_not_believed(
    workspace: Workspace, played: Played, build: Build
) -> None:
    build(follow=False)
    played.jobs = [*2 * [status("InProgress")], status("Completed")]
    leave(played, 1)
    with pytest.raises(SluiceError, match=r"of 2 shards these are not whole: 2; nothing was loaded"):
        build()
    assert nothing_is_loaded(workspace)
    assert build(follow=False)[-1].endswith("-1, 2 machines")


@pytest.mark.parametrize(
    ("call", "code", "said", "remedy"),
    [
        ("CreateProcessingJob", "ResourceLimitExceeded", "the quota of the account refused it", "Service Quotas"),
        ("CreateProcessingJob", "AccessDeniedException", "not allowed", "sluice doctor aws"),
        ("DescribeProcessingJob", "ExpiredTokenException", "does not take the credentials any more", "sign in again"),
    ],
)
def test_a_refusal_of_aws_says_what_to_do(
    workspace: Workspace, played: Played, build: Build, call: str, code: str, said: str, remedy: str
) -> None:
    played.refuse[call] = (code, "no")
    with pytest.raises(SluiceError, match=said) as caught:
        build()
    assert remedy in caught.value.remedy
    assert nothing_is_loaded(workspace)
    del played.refuse[call]
    assert build(follow=False)[-1].endswith("-0, 2 machines")


def test_two_who_start_at_once_start_one_job(played: Played, build: Build) -> None:
    """The name is taken between the look and the start."""
    build(follow=False)
    played.refuse["DescribeProcessingJob"] = ("ValidationException", "Could not find requested job")
    assert build(follow=False)[-1].endswith("-0, 2 machines")
    assert played.count("CreateProcessingJob") == 2
    assert len(played.named) == 1


def test_the_budget_and_the_limits_are_looked_at_before_anything_is_paid(
    workspace: Workspace, played: Played, build: Build
) -> None:
    jobs = yaml.safe_load((workspace.config / "sagemaker.yaml").read_text())["jobs"]
    write_settings(workspace.config, budget_usd=0.05)
    with pytest.raises(SluiceError, match=r"estimated at \$0\.06, above budget_usd 0\.05"):
        build()
    write_settings(workspace.config, budget_usd=1)
    with pytest.raises(SluiceError, match=r"may cost \$1\.92, above budget_usd 1\.00, and nothing"):
        build(follow=False)
    write_settings(workspace.config, jobs=jobs | {"embed": jobs["embed"] | {"chunk_milliseconds": 9e6}})
    with pytest.raises(SluiceError, match=r"12 chunks take 2 machines about 908 minutes, and SageMaker ends") as caught:
        build()
    assert "--workers" in caught.value.remedy
    write_settings(workspace.config)
    with pytest.raises(SluiceError, match="at most 100"):
        build(workers=101)
    with pytest.raises(SluiceError, match="no store 'elsewhere'"):
        build(store="elsewhere")
    write_settings(workspace.config, jobs={name: job for name, job in jobs.items() if name != "embed"})
    with pytest.raises(SluiceError, match=r"jobs\.embed: is not set"):
        build()
    assert not played.count("CreateProcessingJob")
    assert not boto3.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents")


def test_a_job_that_reaches_the_budget_is_stopped(workspace: Workspace, played: Played, build: Build) -> None:
    played.jobs = [status("InProgress", seconds=12 * 3600)]
    with pytest.raises(SluiceError, match=r"stopped at \$5\.76: budget_usd is 5\.00") as caught:
        build()
    assert len(played.stopped) == 1
    assert "not embedded again" in caught.value.remedy
    assert nothing_is_loaded(workspace)


def test_vectors_are_not_taken_into_another_tree(
    workspace: Workspace, played: Played, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(follow=False)
    leave(played, 1, 2)
    original = embed_corpus.follow_run.follow

    def edit(*words: Any, **more: Any) -> Any:
        write_document(workspace.data / "corpus", corpus(1, d0000="Another text.")[0])
        return original(*words, **more)

    monkeypatch.setattr(embed_corpus.follow_run, "follow", edit)
    played.jobs = [status("Completed")]
    with pytest.raises(SluiceError, match="no longer what was embedded"):
        build()
    assert nothing_is_loaded(workspace)


def leave(played: Played, *shards: int) -> None:
    """In the bucket what says that these shards are whole."""
    (output,) = played.asked("CreateProcessingJob")[-1]["ProcessingOutputConfig"]["Outputs"]
    place = output["S3Output"]["S3Uri"].removeprefix(f"s3://{BUCKET}/")
    for number in shards:
        boto3.client("s3").put_object(Bucket=BUCKET, Key=f"{place}/{number}-of-2/{DONE}", Body=b"{}")


def log(played: Played, line: str) -> None:
    """A line of the newest job in CloudWatch."""
    logs, group = boto3.client("logs"), "/aws/sagemaker/ProcessingJobs"
    stream = f"{played.asked('CreateProcessingJob')[-1]['ProcessingJobName']}/algo-1-1"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    event = {"timestamp": int(time.time() * 1000), "message": line}
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])
