"""container/job.py as SageMaker runs it. Stages are played by a small package; test_job_real.py has the real ones."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from support.aws.sagemaker_runs import GOLDEN, ROOT, archive

JOB = ROOT / "engine" / "src" / "sluice" / "extras" / "sagemaker" / "container" / "job.py"
# Each command leaves what the real one leaves, and a line of what it was called with.
PLAYED = """
import os, sys, time
from pathlib import Path

def write(name, text):
    path = Path("build", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

def main():
    words = " ".join(sys.argv[1:])
    with open("called", "a") as log:
        log.write(f"{words} rank={os.environ.get('RANK', '')}\\n")
    if words == os.environ.get("FAILS"):
        print("noise\\nerror: data/train.jsonl:3: key 'id' is missing\\n  -> add it")
        return 1
    if words.startswith("data check"):
        write("check/report.json", "{}")
    elif words == "index build":
        write("index/index.json", "{}")
    elif words == "guard train":
        write("guard/report.json", "{}")
    elif words == "train":
        assert Path("build/index/index.json").is_file()
        kept = Path(".sluice/checkpoints/step")
        done = int(kept.read_text()) if kept.exists() else 0
        kept.write_text(str(done + 1))
        if os.environ.get("HF_TOKEN"):
            Path("called.secret").write_text(os.environ["HF_TOKEN"])
            print(f"error: 401 for token {os.environ['HF_TOKEN']}")
        Path("called.cache").write_text(os.environ["SLUICE_CACHE"])
        if os.environ.get("FAILS_LATE"):
            return 1
        if os.environ.get("HANGS"):
            print("at work", flush=True)
            try:
                time.sleep(600)
            finally:
                kept.write_text("stopped in time")
        write("adapter/adapter.gguf", f"GGUF after {done + 1}")
        write("adapter/training.json", "{}")
        write("adapter/.draft-1/adapter.gguf", "half")
    elif words.startswith("evaluate"):
        write("evaluation/metrics.json", Path("build/adapter/adapter.gguf").read_text())
    elif words.startswith("gates judge"):
        write("gates.json", '{"passed": true}')
    return 0
"""


def parcel(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    (folder / "sources.tar.gz").write_bytes(archive({name: text.encode() for name, text in files.items()}))


CODE = {"engine/src/sluice/__init__.py": "", "engine/src/sluice/cli.py": PLAYED, "pyproject.toml": ""}
DATA = {"data/train.jsonl": "{}\n"}
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder that is /opt/ml."""
    return tmp_path / "ml"


@pytest.fixture
def start(base: Path) -> Start:
    """Start a job as the container does, with a bare Python and SageMaker's variables."""

    def begin(stage: str, **variables: str) -> subprocess.Popen[str]:
        env = {"PATH": os.environ["PATH"], "SAGEMAKER_BASE_DIR": str(base), "SLUICE_INSTALLED": "1", **variables}
        words = [sys.executable, "-I", str(JOB), "--stage", stage, "--other", "1"]
        return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return begin


def end(job: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = job.communicate(timeout=240)
    return job.returncode, said


def ended_well(job: subprocess.Popen[str]) -> str:
    code, said = end(job)
    assert code == 0, said
    return said


def training(base: Path, **more: str) -> dict[str, str]:
    """Make the channels of a training job; return its variables."""
    channels = base / "input" / "data"
    parcel(channels / "checkout", CODE)
    parcel(channels / "data", DATA)
    (channels / "index").mkdir()
    (channels / "index" / "index.json").write_text("{}")
    (base / "model").mkdir()
    found = {f"SM_CHANNEL_{name.upper()}": str(channels / name) for name in ("checkout", "data", "index")}
    variables = {"SM_MODEL_DIR": str(base / "model"), "SM_NUM_GPUS": "0"}
    return {**found, **variables, **more}


def processing(base: Path) -> Path:
    """Make the inputs of a processing job; return their folder."""
    inputs = base / "processing" / "input"
    parcel(inputs / "checkout", CODE)
    parcel(inputs / "data", DATA)
    return inputs


def called(base: Path) -> list[str]:
    return (base / "checkout" / "called").read_text().splitlines()


def test_process_checks_indexes_and_trains_the_guard_and_hands_all_over(base: Path, start: Start) -> None:
    processing(base)
    ended_well(start("process"))
    assert called(base) == ["data check --out build/check/report.json rank=", "index build rank=", "guard train rank="]
    output = base / "processing" / "output"
    assert {str(one.relative_to(output)) for one in output.rglob("*.json")} == {
        "check/report.json",
        "index/index.json",
        "guard/report.json",
    }
    assert not (base / "output" / "failure").exists()


def test_a_job_that_is_started_again_finds_its_checkpoints_and_hands_over_the_adapter(base: Path, start: Start) -> None:
    variables = training(base)
    end(start("train", **variables, FAILS_LATE="1"))
    assert (base / "checkpoints" / "step").read_text() == "1"
    ended_well(start("train", **variables))
    assert {one.name for one in (base / "model").iterdir()} == {"adapter.gguf", "training.json"}, "and no draft"
    assert (base / "model" / "adapter.gguf").read_text() == "GGUF after 2"
    assert (base / "checkout" / "called.cache").read_text() == str(base / "cache"), "`volume_gb` is that of /opt/ml"


def test_what_was_trained_once_is_taken_by_a_later_run_of_its_recipe_if_it_is_whole(base: Path, start: Start) -> None:
    variables = training(base)
    end(start("train", **variables))
    (base / "model" / "adapter.gguf").unlink()
    assert "trained in an earlier run" in ended_well(start("train", **variables))
    assert {one.name for one in (base / "model").iterdir()} == {"adapter.gguf", "training.json"}
    assert (base / "model" / "adapter.gguf").read_text() == "GGUF after 1"
    (base / "checkpoints" / "finished" / "training.json").unlink()
    end(start("train", **variables))
    assert (base / "model" / "adapter.gguf").read_text() == "GGUF after 2"


def test_secrets_reach_the_stage_and_nothing_that_is_written(base: Path, start: Start, tmp_path: Path) -> None:
    (tmp_path / "boto3.py").write_text(
        "class client:\n"
        "    def __init__(self, name): assert name == 'secretsmanager'\n"
        "    def get_secret_value(self, SecretId):\n"
        "        return {'SecretString': f'canary-of-{SecretId}'}\n"
    )
    named = json.dumps({"HF_TOKEN": "sluice/training/hub"})
    variables = training(base, SLUICE_SECRETS=named, PYTHONPATH=str(tmp_path))
    code, said = end(start("train", **variables, FAILS_LATE="1"))
    assert code == 1, said
    assert (base / "output" / "failure").exists()
    assert "401 for token ***" in said
    assert (base / "checkout" / "called.secret").read_text() == "canary-of-sluice/training/hub"
    (base / "checkout" / "called.secret").unlink()
    written = [path.read_bytes() for path in base.rglob("*") if path.is_file()]
    assert not [one for one in written if b"canary-of" in one]
    assert "canary-of" not in said
    (tmp_path / "boto3.py").write_text("def client(name): raise RuntimeError('AccessDenied')\n")
    code, said = end(start("train", **variables))
    assert code == 1
    assert "secrets sluice/training/hub: RuntimeError: AccessDenied" in said


def test_the_signal_reaches_the_stage_through_the_shells_and_the_launcher(base: Path) -> None:
    """The launcher hands no signal on, as the SDK's (sagemaker-train 1.27: templates.py, common/utils.py) doesn't."""
    steps = json.loads(GOLDEN.read_text())["Steps"]
    (train,) = [step["Arguments"] for step in steps if step["Name"] == "Train"]
    shell, command = train["AlgorithmSpecification"]["ContainerArguments"]
    drivers = base / "input" / "data" / "sm_drivers"
    variables = training(base, HANGS="1", SAGEMAKER_BASE_DIR=str(base), SLUICE_INSTALLED="1", PATH=os.environ["PATH"])
    drivers.mkdir()
    job = [sys.executable, "-I", str(JOB), "--stage", "train"]
    launch = f"import subprocess; raise SystemExit(subprocess.call({job!r}))"
    (drivers / "sm_train.sh").write_text(f'#!/bin/bash\nset -e\n{sys.executable} -c "{launch}"\necho done\n')
    words = ["/bin/bash", shell, command.replace("/opt/ml", str(base))]
    outer = subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert outer.stdout
    assert any("at work" in line for line in outer.stdout)
    outer.send_signal(signal.SIGTERM)
    said, _ = outer.communicate(timeout=240)
    assert outer.returncode == 128 + signal.SIGTERM, said
    assert "done" not in said
    assert not (base / "output" / "failure").exists()


def test_of_two_processes_the_first_prepares_and_hands_over(base: Path, start: Start) -> None:
    variables = training(base, WORLD_SIZE="2")
    second = start("train", **variables, RANK="1", LOCAL_RANK="1")
    time.sleep(0.3)
    assert second.poll() is None  # it waits for the first
    first = start("train", **variables, RANK="0", LOCAL_RANK="0")
    for job in (first, second):
        ended_well(job)
    assert sorted(called(base)) == ["train rank=0", "train rank=1"]


def test_evaluate_asks_the_live_release_too_and_the_gates(base: Path, start: Start) -> None:
    inputs = processing(base)
    parcel(inputs / "live", {"r-1/release.json": "{}"})
    for name in ("index", "guard", "model"):
        (inputs / name).mkdir()
    (inputs / "model" / "model.tar.gz").write_bytes(archive({"adapter.gguf": b"GGUF"}))
    ended_well(start("evaluate"))
    assert called(base) == [
        "evaluate rank=",
        "evaluate --release r-1 --out build/live rank=",
        "gates judge build/evaluation --against build/live --out build/gates.json rank=",
    ]
    assert (base / "checkout" / ".sluice" / "releases" / "r-1" / "release.json").is_file()
    output = base / "processing" / "output"
    assert (output / "evaluation" / "metrics.json").read_text() == "GGUF"
    assert (output / "gates" / "gates.json").is_file()
    (inputs / "live" / "sources.tar.gz").write_bytes(archive({}))
    assert end(start("evaluate"))[0] == 0
    assert called(base)[1] == "evaluate --baseline --out build/live rank=", "without a live release"


def test_what_a_stage_says_is_the_reason_that_sagemaker_shows(base: Path, start: Start) -> None:
    code, said = end(start("train", **training(base, FAILS="train")))
    assert code == 1
    failure = (base / "output" / "failure").read_text()
    assert failure == "sluice train ended with 1: error: data/train.jsonl:3: key 'id' is missing\n  -> add it"
    assert failure in said
    assert not list((base / "model").iterdir())


def test_a_channel_that_is_missing_or_broken_is_named(base: Path, start: Start) -> None:
    assert end(start("process"))[0] == 1
    assert "the channel 'checkout' is not there" in (base / "output" / "failure").read_text()
    folder = base / "processing" / "input" / "checkout"
    folder.mkdir(parents=True)
    (folder / "sources.tar.gz").write_bytes(b"nonsense")
    code, _ = end(start("process"))
    assert code == 1
    assert "checkout/sources.tar.gz" in (base / "output" / "failure").read_text()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("job", JOB)
    assert spec
    assert spec.loader
    job = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "job", job)
    spec.loader.exec_module(job)
    return job


def installed(module: ModuleType, base: Path, **environment: str) -> list[list[str]]:
    """Return the programs that would install the locks of this repository."""
    job = module.Job({"SAGEMAKER_BASE_DIR": str(base), **environment})
    (base / "libraries").mkdir(parents=True)
    job.checkout.symlink_to(ROOT)
    calls: list[list[str]] = []
    job.call = calls.append
    job.install()
    return calls


@pytest.mark.parametrize(("gpus", "torch"), [("0", True), ("4", False)])
def test_where_there_are_gpus_the_lock_of_qlora_is_installed_too_and_torch_where_it_is_missing(
    base: Path, module: ModuleType, monkeypatch: pytest.MonkeyPatch, gpus: str, torch: bool
) -> None:
    """SM_NUM_GPUS is set by the SDK's driver (sagemaker-train 1.27.0, train/container_drivers/scripts/environment.py,
    line 207), and by AWS's training toolkit."""
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: "torch" if torch else None)
    calls = installed(module, base, SM_NUM_GPUS=gpus)
    assert [words[-1].endswith("torch.in") for words in calls].count(True) == (not torch)
    locks = [Path(words[-1]) for words in calls if words[-1].endswith(".txt")]
    assert [lock.name for lock in locks].count("qlora.txt") == (gpus != "0")
    assert all(lock.is_file() for lock in locks)
    assert all("--require-hashes" in words for words in calls if words[-1].endswith(".txt"))


def test_the_libraries_of_the_image_are_taken_while_they_are_those_of_the_locks(
    base: Path, module: ModuleType, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    installed(module, image, SM_NUM_GPUS="1")
    libraries = image / "libraries"
    checkout = tmp_path / "locks"
    job = module.Job({"SAGEMAKER_BASE_DIR": str(base), "SLUICE_INSTALLED": str(libraries)})
    job.checkout = ROOT
    assert job.brought == libraries
    for path in job.locks.values():
        copied = checkout / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())
    job.checkout = checkout
    assert job.brought == libraries
    job.locks["train.txt"].write_text("newer==1")
    assert job.brought is None
    assert module.Job({"SLUICE_INSTALLED": "1"}).brought is None
    assert module.Job({}).brought is None
