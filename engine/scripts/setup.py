"""Installs what a task needs into a virtual environment: `python3 engine/scripts/setup.py .venv LEVEL`.

Levels, each with what the ones before it have:

trying       try a prompt of the starter
serving      serve a release: hosted models, buckets, agents
release      release and compare: DVC, MLflow, Locust
development  checks, tests, notebooks
training     torch and what trains, beside any of them; about 2 GB

Runs on a bare Python, so it uses the standard library only. The locks are installed by hash; torch alone comes by a
range, because every platform has a build of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
LEVELS = {"trying": "try.txt", "serving": "serve.txt", "release": "release.txt", "development": "dev.txt"}
EXTRAS = "engine/src/sluice/extras"
TRAIN = f"{EXTRAS}/finetune/requirements/train.txt"
TORCH = f"{EXTRAS}/finetune/requirements/torch.in"
MLFLOW = f"{EXTRAS}/sagemaker/requirements/mlflow.txt"
CORPORA = f"{EXTRAS}/guard/requirements/corpora.txt"
LOCKED = ("--no-deps", "--require-hashes", "-r")


def main(argv: list[str]) -> int:
    folder, level = Path(argv[1]), argv[2]
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        return fail(f"Python {found} is too old: 3.11 or newer is needed", "name one with `make PYTHON=python3.12 …`")
    python = folder / "bin" / "python"
    steps = training(folder, python) if level == "training" else packages(folder, python, level)
    # Nothing is installed for a part that is switched off.
    off = tuple(f"{EXTRAS}/{name}/" for name in left_out())
    steps = [step for step in steps if not (off and step[1][-1].startswith(off))]
    began = time.monotonic()
    for number, (name, command) in enumerate(steps, 1):
        print(f"setup {number}/{len(steps)}: {name}", end="", file=sys.stderr, flush=True)
        step_began = time.monotonic()
        quiet = [] if "venv" in command else ["--quiet"]
        done = subprocess.run([*command, *quiet], capture_output=True, text=True)
        print(f", {time.monotonic() - step_began:.0f} s", file=sys.stderr, flush=True)
        if done.returncode:
            words = (done.stderr or done.stdout).strip()
            return fail(f"{' '.join(command)}\n{words}", remedy(name, words))
    if index := os.environ.get("PIP_EXTRA_INDEX_URL"):  # for the stage that installs torch later, in another shell
        (folder / "pip.conf").write_text(f"[global]\nextra-index-url = {index}\n")
    print(f"setup: ready for {level} after {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


def left_out() -> set[str]:
    """The parts that config/project.yaml switches off; asked for once Python is known to be new enough."""
    sys.path.insert(0, "engine/src")
    from sluice.core import extras

    return extras.left_out(Path())


def packages(folder: Path, python: Path, level: str) -> list[tuple[str, list[str]]]:
    bootstrap = [str(python), "-m", "pip", "install", "--require-hashes", "-r", "engine/requirements/bootstrap.txt"]
    steps = [
        ("virtual environment", [sys.executable, "-m", "venv", str(folder)]),
        ("installer", bootstrap),
        ("packages", uv(python, *LOCKED, f"engine/requirements/{LEVELS[level]}")),
        ("sluice", uv(python, "--no-deps", "--no-build-isolation", "--editable", "engine", "--editable", ".")),
    ]
    if level == "serving":
        steps.insert(3, ("statistics", uv(python, *LOCKED, "engine/requirements/try.txt")))
    if level in ("release", "development"):
        steps.insert(3, ("managed MLflow", uv(python, *LOCKED, MLFLOW)))
    return steps


def training(folder: Path, python: Path) -> list[tuple[str, list[str]]]:
    return [
        ("training", uv(python, *LOCKED, TRAIN)),
        ("torch", [str(python), "-m", "pip", "install", "-r", TORCH]),
        # Beside the libraries, not among them: what is read as data must not be importable.
        ("corpora", uv(python, "--target", str(folder / "corpora"), *LOCKED, CORPORA)),
    ]


def uv(python: Path, *words: str) -> list[str]:
    return [str(python.with_name("uv")), "pip", "install", "--python", str(python), *words]


def remedy(step: str, words: str) -> str:
    if step == "virtual environment":
        return "on Debian and Ubuntu the module is a package of its own: apt-get install python3-venv"
    if "No space left" in words:
        return "the environment needs 1 to 3 GB: free some space and run it again"
    return "check the network and run it again; what is already installed is kept in the cache"


def fail(what: str, how: str) -> int:
    print(f"setup failed: {what}\n  -> {how}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
