"""A job of SageMaker, which runs the commands of a stage of dvc.yaml in the places that SageMaker gives it.

`python job.py --stage process|train|evaluate`, with the standard library alone: nothing else is installed yet. It
unpacks the source archives (sources.py) and installs the locks by hash, unless SLUICE_INSTALLED says where they are:
the folder that the stage `install` filled in the Containerfile, or 1 for the Python that runs this. An adapter is kept
beside the checkpoints of its recipe: a run whose later steps failed takes it from there. Errors are left in
output/failure and output/message, which SageMaker shows.

Folders, below /opt/ml or what SAGEMAKER_BASE_DIR names:
  processing/input/<name>, processing/output/<name>      process, evaluate
  SM_CHANNEL_<NAME>, SM_MODEL_DIR, checkpoints           train
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path

ARCHIVE = "sources.tar.gz"
WHOLE = ".whole.json"  # in the folder of a finished adapter, written last
LOCKS = "locks.json"  # in the folder of libraries, written last: sha256 of each lock
WAIT = 1800  # seconds that the other processes of a machine wait for the one that unpacks and installs
# A program of its own: boto3 is there once the libraries are.
READ_SECRETS = """
import boto3, json, sys
client = boto3.client("secretsmanager")
print(json.dumps([client.get_secret_value(SecretId=name)["SecretString"] for name in sys.argv[1:]]))
"""
RUN = "import sys; from sluice.cli import main; sys.exit(main())"


class Failed(Exception):
    """Ends the job; its text goes into output/failure."""


class Job:
    """One job, with the variables of SageMaker and torchrun."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.base = Path(environment.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
        self.checkout = self.base / "checkout"
        self.outputs = self.base / "processing" / "output"
        self.python = Path(sys.executable)
        self.kept = self.base / "checkpoints" / "finished"
        self.trained = finished(self.kept)  # looked at before any process trains, so that all of them see the same
        self.child: subprocess.Popen[str] | None = None
        self.ended = 0
        self.hidden: list[str] = []  # lines of secrets, which no log shows

    def input(self, name: str) -> Path:
        """Return the folder of a channel. Training jobs have it in a variable, processing jobs in a fixed place."""
        found = Path(self.environment.get(f"SM_CHANNEL_{name.upper()}", self.base / "processing" / "input" / name))
        if not found.is_dir():
            raise Failed(f"{found}: the channel {name!r} is not there")
        return found

    def prepare(self) -> None:
        """Make a checkout of code and data, with its libraries. One process of each machine does, the others wait."""
        ready = self.base / "checkout.ready"
        if int(self.environment.get("LOCAL_RANK", 0)):
            deadline = time.monotonic() + WAIT
            while not ready.exists():
                if time.monotonic() > deadline:
                    raise Failed(f"{ready}: the first process of this machine did not get ready within {WAIT} s")
                time.sleep(0.5)
        else:
            ready.unlink(missing_ok=True)
            shutil.rmtree(self.checkout, ignore_errors=True)
            unpack(self.input("checkout"), self.checkout)
            unpack(self.input("data"), self.checkout)
            if self.environment.get("SLUICE_INSTALLED") != "1" and not self.brought:
                self.install()
            ready.touch()
        for folder in (self.base / "libraries", self.brought):
            if folder and folder.is_dir():
                self.python = folder / "bin" / "python"
        secrets = self.secrets()
        self.hidden = [line for value in secrets.values() for line in value.splitlines() if len(line) > 3]
        self.environment = {**self.environment, **secrets}

    def secrets(self) -> dict[str, str]:
        """Return the variables of SLUICE_SECRETS, with their values from AWS Secrets Manager."""
        named = json.loads(self.environment.get("SLUICE_SECRETS", "{}"))
        if not named:
            return {}
        words = [str(self.python), "-c", READ_SECRETS, *named.values()]
        done = subprocess.run(words, env=dict(self.environment), capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"secrets {', '.join(named.values())}: {(done.stderr.splitlines() or ['not read'])[-1]}")
        return dict(zip(named, json.loads(done.stdout), strict=True))

    @property
    def locks(self) -> dict[str, Path]:
        """The locks that a job installs, by name."""
        gpus = () if self.environment.get("SM_NUM_GPUS", "0") == "0" else (("finetune", "qlora.txt"),)
        wanted = (("sagemaker", "mlflow.txt"), ("finetune", "train.txt"), *gpus, ("guard", "corpora.txt"))
        extras = self.checkout / "engine" / "src" / "sluice" / "extras"
        found = {name: extras / extra / "requirements" / name for extra, name in wanted}
        return {"dev.txt": self.checkout / "engine" / "requirements" / "dev.txt", **found}

    @property
    def brought(self) -> Path | None:
        """The libraries of the image, if they are those of this checkout's locks."""
        folder = Path(self.environment.get("SLUICE_INSTALLED") or os.devnull)
        try:
            noted = json.loads((folder / LOCKS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return folder if all(noted.get(name) == sha256(lock) for name, lock in self.locks.items()) else None

    def install(self) -> None:
        """Install the locks by hash, beside the torch of the image or one of the index; a stage of its own."""
        folder = self.base / "libraries"
        python = folder / "bin" / "python"
        *libraries, corpora = self.locks.values()
        hashes = ["--quiet", "--require-hashes", "-r"]
        pip = [python, "-m", "pip", "install"]
        uv = [folder / "bin" / "uv", "pip", "install", "--python", python, "--no-deps"]
        torch = [*pip, "--quiet", "-r", self.locks["train.txt"].with_name("torch.in")]
        for words in (
            [sys.executable, "-m", "venv", "--system-site-packages", folder],
            [*pip, *hashes, self.checkout / "engine" / "requirements" / "bootstrap.txt"],
            *([*uv, *hashes, lock] for lock in libraries),
            *([] if importlib.util.find_spec("torch") else [torch]),
            [*uv, "--target", folder / "corpora", *hashes, corpora],
        ):
            self.call([str(word) for word in words])
        (folder / LOCKS).write_text(json.dumps({name: sha256(lock) for name, lock in self.locks.items()}))

    def sluice(self, *words: str) -> None:
        self.call([str(self.python), "-c", RUN, *words], shown=f"sluice {' '.join(words)}")

    def call(self, argv: list[str], *, shown: str = "") -> None:
        """Run a program and show its output; fail with its last lines."""
        shown = shown or " ".join(argv)
        print(f"> {shown}", flush=True)
        path = [str(self.checkout / "engine" / "src"), *filter(None, [self.environment.get("PYTHONPATH")])]
        # Models go to the disk that `volume_gb` is the size of, not beside the image.
        cache = {"SLUICE_CACHE": str(self.base / "cache")}
        env = {**cache, **self.environment, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
        self.child = subprocess.Popen(
            argv, cwd=self.checkout, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        last: list[str] = []
        for line in self.child.stdout or ():
            for secret in self.hidden:
                line = line.replace(secret, "***")
            print(line, end="", flush=True)
            last = [*last[-14:], line]
        status = self.child.wait()
        if self.ended:  # no failure: SageMaker starts the job again where it may
            raise SystemExit(128 + self.ended)
        if status:
            errors = next((number for number, line in enumerate(last) if line.startswith("error: ")), 0)
            raise Failed(f"{shown} ended with {status}: {''.join(last[errors:]).strip()}")

    def end(self, number: int, _: object) -> None:
        """Tell the stage that SageMaker takes the machine away, so that it leaves a whole checkpoint."""
        self.ended = number
        if self.child:
            self.child.terminate()


def process(job: Job) -> None:
    job.sluice("data", "check", "--out", "build/check/report.json")
    job.sluice("index", "build")
    job.sluice("guard", "train")
    for name in ("check", "index", "guard"):
        copy(job.checkout / "build" / name, job.outputs / name)


def train(job: Job) -> None:
    """Train as one of torchrun's processes, the first of which hands the adapter over."""
    first = job.environment.get("RANK", "0") == "0"
    if job.trained:
        print(f"> {job.kept}: trained in an earlier run of this recipe", flush=True)
    else:
        link(job.checkout / "build" / "index", job.input("index"))
        (job.base / "checkpoints").mkdir(exist_ok=True)
        link(job.checkout / ".sluice" / "checkpoints", job.base / "checkpoints")
        job.sluice("train")
    if first and not job.trained:
        shutil.rmtree(job.kept, ignore_errors=True)
        copy(job.checkout / "build" / "adapter", job.kept)
        (job.kept / WHOLE).write_text(json.dumps(digests(job.kept)), encoding="utf-8")
    if first:
        copy(job.kept, Path(job.environment["SM_MODEL_DIR"]))


def evaluate(job: Job) -> None:
    """Evaluate the candidate and the live release one after the other on this machine, then judge by the gates."""
    for name in ("index", "guard"):
        link(job.checkout / "build" / name, job.input(name))
    unpack(job.input("model"), job.checkout / "build" / "adapter", "model.tar.gz")
    live = job.checkout / ".sluice" / "releases"
    unpack(job.input("live"), live)
    releases = [folder.name for folder in live.iterdir()]
    job.sluice("evaluate")
    job.sluice("evaluate", *(["--release", releases[0]] if releases else ["--baseline"]), "--out", "build/live")
    job.sluice("gates", "judge", "build/evaluation", "--against", "build/live", "--out", "build/gates.json")
    copy(job.checkout / "build" / "evaluation", job.outputs / "evaluation")
    (job.outputs / "gates").mkdir(parents=True, exist_ok=True)
    shutil.copy(job.checkout / "build" / "gates.json", job.outputs / "gates")


def finished(folder: Path) -> bool:
    """Return True for a whole adapter: SageMaker copies files to S3 one by one."""
    try:
        noted = json.loads((folder / WHOLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(noted) and noted == digests(folder)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != WHOLE]
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


STAGES = {"install": Job.install, "process": process, "train": train, "evaluate": evaluate}


def unpack(channel: Path, folder: Path, name: str = ARCHIVE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(channel / name) as archive:
            archive.extractall(folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise Failed(f"{channel / name}: {error}") from None


def link(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(target)


def copy(folder: Path, out: Path) -> None:
    shutil.copytree(folder, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))  # drafts begin with a dot


def main(argv: list[str], environment: Mapping[str, str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stage", choices=sorted(STAGES), required=True)
    stage = parser.parse_known_args(argv)[0].stage  # torchrun hands all hyperparameters over
    job = Job(environment)
    signal.signal(signal.SIGTERM, job.end)
    signals = job.base / "signals"  # pipeline_steps.py hands a signal on to these
    signals.mkdir(parents=True, exist_ok=True)
    (signals / f"{environment.get('LOCAL_RANK', 0)}.pid").write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        if stage != "install":
            job.prepare()
        STAGES[stage](job)
    except (Failed, OSError, KeyError, ValueError) as error:
        reason = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
        for path in (job.base / "output" / "failure", job.base / "output" / "message"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(reason[:1024], encoding="utf-8")  # what SageMaker shows
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
