"""A run of SageMaker's pipeline for a checkout, from the estimate to the adapter in DVC, MLflow and the registry.

DVC and MLflow are real if a test asks for `whole`; else what they are told is noted.
"""

import io
import json
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from sluice.cli import main
from sluice.core.digests import digest_of_file
from sluice.core.errors import GateFailed, SluiceError
from sluice.core.tracking import open_tracking
from sluice.core.workspace import Workspace
from sluice.data.rows import Document, Row, write_document, write_rows
from sluice.extras.sagemaker import results
from sluice.extras.sagemaker import train as remote
from sluice.jobs.dvc_pipeline import command, environment
from support.aws.played_sagemaker import Look, Played
from support.aws.sagemaker_runs import BUCKET, ROOT, TRAINING, Jobs, jobs_with, make_jobs, step, write_settings
from support.aws.service_model import REQUESTS, service
from unit.extras.finetune.tiny import LLAMA_8B, edited, write_models
from unit.extras.sagemaker.pipeline_upsert import upsert

UPSERT = Path(__file__).parent / "pipeline_upsert.py"
QUOTA = "ResourceLimitExceeded: The account-level service limit 'ml.m5.xlarge for training job usage' is 0 Instances"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout under git and DVC, with the code that stages depend on."""
    root = tmp_path_factory.mktemp("template") / "checkout"
    for folder in ("prompts", "config", "src", "engine/src", "pipelines", "engine/requirements"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "dvc.lock"))
    for name in ("pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    document = Document(id="canary", title="Canary", licence="CC0-1.0", source="tests", text="A canary gets a share.")
    write_document(root / "data" / "corpus", document)
    write_rows(
        root / "data" / "train.jsonl", [Row(id="q1", question="What?", answers=("a share",), doc_ids=("canary",))]
    )
    shutil.copy(root / "data" / "train.jsonl", root / "data" / "eval.jsonl")
    python = root / remote.SDK
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {UPSERT} "$@"\n')
    python.chmod(0o755)
    env = environment(Workspace(root))
    for words in (
        ["git", "init", "--quiet"],
        command("dvc", "init", "--quiet"),
        command("dvc", "add", "--quiet", "data"),
    ):
        subprocess.run(words, cwd=root, check=True, env=env)
    write_settings(root / "config")
    (root / ".sluice").mkdir()
    shutil.copy(root / "data.dvc", root / ".sluice" / "data.synced")
    return root


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(template, tmp_path / "checkout")
    return Workspace(tmp_path / "checkout")


@pytest.fixture
def jobs(played: Played) -> Jobs:
    """A run that is under way at the first look and done at the second."""
    made = make_jobs()
    played.looks = [
        Look("Executing", [step("Process", "Succeeded", arn=made.process), step("Train", "Executing", arn=made.train)]),
        made.look(),
    ]
    played.calls.clear()
    return made


@dataclass
class Told:
    """Stages for DVC, tags for MLflow."""

    stages: list[tuple[str, ...]] = field(default_factory=list)
    tags: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Told:
    noted = Told()

    def check(place: Workspace, *_: object, until: str) -> None:
        """Replace the stage, which would refuse data of one row."""
        (place.build / until).mkdir(parents=True, exist_ok=True)
        (place.build / until / "report.json").write_text("{}")

    monkeypatch.setattr(remote, "reproduce", check)
    if "whole" not in request.fixturenames:
        monkeypatch.setattr(remote, "_commit_stages", lambda _: noted.stages.append(remote.STAGES))
        monkeypatch.setattr(results, "record", lambda *words: noted.tags.append(words[2]))
        monkeypatch.setattr(remote, "_upsert", lambda place: upsert(place.config))
    return noted


@pytest.fixture
def whole() -> None:
    """Nothing is played but AWS and the SDK."""


Train = Callable[..., list[str]]


@pytest.fixture
def train(workspace: Workspace, jobs: Jobs, told: Told) -> Train:  # noqa: ARG001 - the account has them
    """Run `sluice train --on sagemaker`; return the lines it prints."""

    def run(*, follow: bool = True) -> list[str]:
        said: list[str] = []
        remote.train(workspace, follow=follow, say=said.append)
        return said

    return run


@pytest.mark.usefixtures("whole")
def test_a_run_ends_in_dvc_in_mlflow_and_in_the_registry(
    workspace: Workspace, played: Played, jobs: Jobs, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    played.jobs[jobs.train.rpartition("/")[2]] = {"BillableTimeInSeconds": 90}
    inside: dict[str, Any] = {"cwd": workspace.root, "env": environment(workspace)}
    subprocess.check_call(command("sluice", "code", "digest"), **inside)
    said = train()
    adapter = workspace.build / "adapter" / "adapter.gguf"
    assert adapter.read_bytes() == b"GGUF adapter"
    assert said[0].startswith("estimate  $0.14 on demand, at most $0.60, budget $5.00")
    assert "Process   Process at work" in said
    assert "Train     train: 1/2 loss 2.50" in said
    assert "Train     -- executing" in said
    assert "Train     -- succeeded" in said
    assert any(line.startswith("cost      $") for line in said)
    # DVC takes index and train as done, without running them.
    status = subprocess.check_output(command("dvc", "status", "--json", "pipelines/dvc.yaml"), **inside)
    stale = {name.rpartition(":")[2] for name in json.loads(status)}
    assert {"index", "train"} & stale == set()
    assert "evaluate" in stale
    client, experiment = open_tracking(workspace, results.EXPERIMENT)
    (run,) = client.search_runs([experiment])
    assert run.data.metrics["f1"] == 0.5
    assert run.data.metrics["train_tokens_per_second"] == TRAINING["tokens_per_second"]
    assert run.data.metrics["cost_usd"] == pytest.approx(0.24 * 90 / 3600)
    assert run.data.params["rank"] == "16"
    assert played.metadata[jobs.package]["adapter_sha256"] == digest_of_file(adapter)
    assert run.data.tags["model_package"] == jobs.package
    monkeypatch.setattr(remote, "_commit_stages", lambda _: None)
    train()
    assert len(client.search_runs([experiment])) == 1


def test_a_run_is_started_once_and_its_result_taken_again(
    workspace: Workspace, played: Played, told: Told, train: Train
) -> None:
    (started,) = [line for line in train(follow=False) if line.startswith("started")]
    arn = started.split()[1]
    assert f"found     {arn}: executing" in train()
    shutil.rmtree(workspace.build)
    assert f"found     {arn}: succeeded" in train()
    assert (workspace.build / "adapter" / "adapter.gguf").is_file()
    assert played.count("StartPipelineExecution") == 1
    assert told.stages == [("index", "train")] * 2
    assert told.tags[0] == told.tags[1]
    assert told.tags[0]["execution"] == arn


def test_no_secret_of_this_machine_or_of_the_account_is_in_an_archive_or_a_request(
    workspace: Workspace, played: Played, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = "canary-7f3a9c"
    boto3.client("secretsmanager").create_secret(Name="sluice/training/hub", SecretString=canary)
    write_settings(workspace.config, secrets={"HF_TOKEN": "sluice/training/hub"})  # pragma: allowlist secret
    for name in (".env", "src/.env", ".dvc/config.local", ".sluice/keys.json", "build/keys"):
        (workspace.root / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace.root / name).write_text(canary)
    for name in ("HF_TOKEN", "PROVIDER_KEYS", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, canary)
    REQUESTS.clear()
    said = train()
    s3, held = boto3.client("s3"), set[str]()
    for one in s3.list_objects_v2(Bucket=BUCKET, Prefix="training/sources/")["Contents"]:
        packed = s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            for entry in filter(tarfile.TarInfo.isfile, archive):
                content = archive.extractfile(entry)
                assert content
                held.add(entry.name)
                assert canary.encode() not in content.read(), entry.name
    code = {"engine/src/sluice/extras/finetune/train_stage.py", "pipelines/dvc.yaml", "config/models.yaml"}
    assert held >= code | {"data/corpus/canary.md", "data/eval.jsonl", "data/train.jsonl"}
    assert "config/sagemaker.yaml" not in held, "it decides nothing in a job"
    assert [one for one in (*played.calls, *REQUESTS, *said) if canary in str(one)] == []


def test_a_failed_step_is_named_with_what_to_do_and_changes_nothing(
    workspace: Workspace, played: Played, jobs: Jobs, told: Told, train: Train
) -> None:
    failed = [
        step("Process", "Succeeded", arn=jobs.process),
        step("Train", "Failed", arn=jobs.train, reason="NaN loss"),
    ]
    played.looks = [Look("Failed", failed)]
    with pytest.raises(SluiceError, match=r"step Train failed: NaN loss") as caught:
        train()
    assert "from its last checkpoint" in caught.value.remedy
    assert not (workspace.build / "adapter").exists()
    assert not played.metadata
    assert not told.stages
    with pytest.raises(SluiceError, match="NaN loss"):
        train()
    assert played.count("StartPipelineExecution") == 2  # another attempt, for the same checkpoints
    names = [asked["PipelineExecutionDisplayName"] for asked in played.asked("StartPipelineExecution")]
    assert [name[-1] for name in names] == ["0", "1"]
    played.looks = [Look("Failed", [step("Process", "Failed", reason=QUOTA)])]
    with pytest.raises(SluiceError, match="step Process failed: ResourceLimitExceeded") as caught:
        train()
    assert "Service Quotas" in caught.value.remedy


@pytest.mark.parametrize(
    ("call", "code", "said", "remedy"),
    [
        ("ListPipelineExecutions", "ExpiredTokenException", "no longer accepts the credentials", "sign in again"),
        ("StartPipelineExecution", "ResourceLimitExceeded", "the account's quota does not allow it", "Service Quotas"),
        ("StartPipelineExecution", "AccessDeniedException", "not allowed", "sluice doctor aws"),
        ("DescribePipelineExecution", "ExpiredTokenException", "no longer accepts the credentials", "is picked up"),
    ],
)
def test_a_refusal_of_aws_says_what_to_do(
    workspace: Workspace, played: Played, train: Train, call: str, code: str, said: str, remedy: str
) -> None:
    played.refuse[call] = (code, "no")
    with pytest.raises(SluiceError, match=said) as caught:
        train()
    assert remedy in caught.value.remedy
    assert not (workspace.build / "adapter").exists()
    del played.refuse[call]
    train()
    assert (workspace.build / "adapter" / "adapter.gguf").is_file()
    assert len(played.started) == 1


def test_credentials_that_are_missing_are_named(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers
    with pytest.raises(SluiceError, match="credentials are missing") as caught:
        train()
    assert "aws sso login" in caught.value.remedy


def test_an_adapter_that_the_gates_refused_is_here_and_nowhere_registered(
    workspace: Workspace, played: Played, jobs: Jobs, train: Train
) -> None:
    played.looks = [jobs.look(refused="refused by f1_holds")]
    for _ in range(2):
        with pytest.raises(GateFailed, match="refused by f1_holds"):
            train()
    assert (workspace.build / "adapter" / "adapter.gguf").is_file()
    assert not played.metadata
    assert played.count("StartPipelineExecution") == 1  # it would be refused again


def test_a_run_above_the_budget_does_not_start(workspace: Workspace, played: Played, train: Train) -> None:
    write_settings(workspace.config, budget_usd=0.1)
    with pytest.raises(SluiceError, match=r"estimated at \$0\.14, above budget_usd 0\.10"):
        train()
    write_settings(workspace.config, budget_usd=0.5)
    with pytest.raises(SluiceError, match=r"may cost \$0\.60, above budget_usd 0\.50, and nothing"):
        train(follow=False)
    assert not played.started
    assert not boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="training/sources").get("Contents")


def test_a_run_that_reaches_the_budget_is_stopped(
    workspace: Workspace, played: Played, jobs: Jobs, train: Train
) -> None:
    under_way(played, jobs, began=time.time() - 24 * 3600)
    with pytest.raises(SluiceError, match=r"stopped at \$5\.76: budget_usd is 5\.00"):
        train()
    assert len(played.stopped) == 1
    assert not (workspace.build / "adapter").exists()


def under_way(played: Played, jobs: Jobs, *, began: float | None) -> None:
    played.jobs[jobs.train.rpartition("/")[2]] = {
        "TrainingStartTime": began,
        "TrainingEndTime": None,
        "TrainingTimeInSeconds": None,
        "BillableTimeInSeconds": None,
    }
    played.looks = [Look("Executing", [step("Train", "Executing", arn=jobs.train)])]


def test_to_wait_for_a_machine_costs_nothing(played: Played, jobs: Jobs, train: Train) -> None:
    under_way(played, jobs, began=None)
    played.looks = [*played.looks, *played.looks, jobs.look()]
    said = train()
    assert not played.stopped
    assert not [line for line in said if "budget" in line and "used up" in line]


@pytest.mark.parametrize(
    ("machine", "more", "said"),
    [
        ("ml.g5.12xlarge", {"instances": 3}, r"is 8, and 3 × ml\.g5\.12xlarge train with 12 processes"),
        ("ml.m5.xlarge", {"processes": 3}, "3 processes"),
    ],
)
def test_processes_that_cannot_share_a_step_are_refused_before_anything_is_paid_for(
    workspace: Workspace, played: Played, train: Train, machine: str, more: dict[str, int], said: str
) -> None:
    jobs = jobs_with(instance_type=machine, **more)
    write_settings(workspace.config, jobs=jobs, prices={"ml.m5.xlarge": 0.24, machine: 0.1})
    with pytest.raises(SluiceError, match=said):
        train()
    assert not played.started


@pytest.mark.parametrize("machine", ["ml.p4d.24xlarge", "ml.p5.48xlarge", "ml.p6-b200.48xlarge"])
def test_a_machine_that_takes_no_processing_job_is_refused_before_anything_is_paid_for(
    workspace: Workspace, played: Played, train: Train, machine: str
) -> None:
    jobs = jobs_with()
    jobs["evaluate"]["instance_type"] = machine
    write_settings(workspace.config, jobs=jobs, prices={"ml.m5.xlarge": 0.24, machine: 0.1})
    with pytest.raises(SluiceError, match=r"jobs\.evaluate: .* takes training jobs alone"):
        train()
    assert not played.started


def test_the_gpus_of_each_machine_that_sagemaker_trains_on_are_known() -> None:
    listed = service("sagemaker").shape_for("TrainingInstanceType").enum
    unknown = {one for one in listed if one.split(".")[1][0] in "gp" and remote.gpus_of(one) is None}
    # Older than what PyTorch supports; and two that no page of AWS at hand counts.
    assert {one for one in unknown if not one.startswith("ml.p2.")} == {"ml.g7.12xlarge", "ml.g7.24xlarge"}


def test_a_dry_run_for_these_machines_says_what_each_process_needs(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_models(workspace, tmp_path / "llama", LLAMA_8B)
    prices = {"ml.m5.xlarge": 0.24, "ml.g5.12xlarge": 7.0}
    write_settings(workspace.config, jobs=jobs_with(instance_type="ml.g5.12xlarge"), prices=prices)
    monkeypatch.chdir(workspace.root)
    monkeypatch.setattr(sys, "argv", ["sluice", "train", "--dry-run", "--on", "sagemaker"])
    for parallel, memory in (("fsdp", "3.9 GiB"), ("ddp", "15.7 GiB")):
        with edited(workspace.params) as params:
            params["train"] |= {"method": "lora", "parallel": parallel, "exports": ["gguf", "peft"]}
        assert main() == 0
        assert f"memory    {memory} on each of 4 processes" in capsys.readouterr().out


def test_files_that_contradict_each_other_are_refused_before_anything_is_paid_for(
    workspace: Workspace, played: Played, train: Train
) -> None:
    for changed, said in (
        ({"method": "full", "exports": ["merged"]}, r"train\.exports has no gguf"),
        ({"method": "qlora", "exports": ["gguf"]}, "has a GGUF file alone"),
    ):
        with edited(workspace.params) as params:
            params["train"] |= changed
        with pytest.raises(SluiceError, match=said):
            train()
    assert not played.started


def test_a_result_is_not_taken_into_another_tree(
    workspace: Workspace, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = remote.pipeline_runs.follow

    def edit(*words: object, **more: object) -> object:
        with (workspace.data / "train.jsonl").open("a") as rows:
            rows.write("\n")
        return original(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(remote.pipeline_runs, "follow", edit)
    with pytest.raises(SluiceError, match="no longer what it was trained from"):
        train()
    assert not (workspace.build / "adapter").exists()


def test_a_run_without_an_adapter_leaves_build_as_it_was(
    workspace: Workspace, played: Played, told: Told, train: Train
) -> None:
    made = make_jobs("r2", adapter={"training.json": b"{}"})
    played.looks = [made.look()]
    (workspace.build / "adapter").mkdir(parents=True)
    (workspace.build / "adapter" / "adapter.gguf").write_bytes(b"old")
    with pytest.raises(SluiceError, match=r"made no adapter/adapter\.gguf"):
        train()
    assert (workspace.build / "adapter" / "adapter.gguf").read_bytes() == b"old"
    assert not told.stages


@pytest.mark.usefixtures("whole")
def test_the_sdk_s_own_words_are_shown_and_a_missing_sdk_is_said(
    workspace: Workspace, played: Played, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDK_SAYS", "ValueError: no such instance type")
    with pytest.raises(SluiceError, match=r"could not be made: ValueError: no such instance type"):
        train()
    monkeypatch.setenv("SDK_SAYS", "error: not allowed: no bucket\n  -> ask for it")
    with pytest.raises(SluiceError, match=r"could not be made: not allowed: no bucket") as caught:
        train()
    assert caught.value.remedy == "ask for it"
    shutil.rmtree(workspace.root / ".venv")
    with pytest.raises(SluiceError, match="is not installed") as caught:
        train()
    assert "make sagemaker" in caught.value.remedy
    assert not played.started
