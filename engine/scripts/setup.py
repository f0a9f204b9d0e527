"""Installs everything into a virtual environment: `python3 engine/scripts/setup.py .venv [--without-training]`.

Runs on a bare Python, so it uses the standard library only. The locks are installed by hash; torch alone comes by a
range, because every platform has a build of its own. Both take most of the time and space, and what neither trains nor
releases can do without them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
TRAINING = ("training", "torch")
EXTRAS = "engine/src/sluice/extras"
TRAIN = f"{EXTRAS}/finetune/requirements/train.txt"
TORCH = f"{EXTRAS}/finetune/requirements/torch.in"
MLFLOW = f"{EXTRAS}/sagemaker/requirements/mlflow.txt"
CORPORA = f"{EXTRAS}/guard/requirements/corpora.txt"


def main(argv: list[str]) -> int:
    folder = Path(argv[1])
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        return fail(f"Python {found} is too old: 3.11 or newer is needed", "name one with `make PYTHON=python3.12 …`")
    python = folder / "bin" / "python"
    steps: list[tuple[str, list[str]]] = [
        ("virtual environment", [sys.executable, "-m", "venv", str(folder)]),
        (
            "installer",
            [str(python), "-m", "pip", "install", "--require-hashes", "-r", "engine/requirements/bootstrap.txt"],
        ),
        ("pipeline and service", uv(python, "--no-deps", "--require-hashes", "-r", "engine/requirements/dev.txt")),
        ("training", uv(python, "--require-hashes", "--no-deps", "-r", TRAIN)),
        ("managed MLflow", uv(python, "--no-deps", "--require-hashes", "-r", MLFLOW)),
        ("torch", [str(python), "-m", "pip", "install", "-r", TORCH]),
        # Beside the libraries, not among them: what is read as data must not be importable.
        ("corpora", uv(python, "--no-deps", "--require-hashes", "--target", str(folder / "corpora"), "-r", CORPORA)),
        ("sluice", uv(python, "--no-deps", "--no-build-isolation", "--editable", "engine", "--editable", ".")),
    ]
    # An extra that was left out has taken its locks along.
    steps = [step for step in steps if step[1][-2] != "-r" or Path(step[1][-1]).is_file()]
    if "--without-training" in argv[2:]:
        steps = [step for step in steps if step[0] not in TRAINING]
    began = time.monotonic()
    for number, (name, command) in enumerate(steps, 1):
        print(f"setup {number}/{len(steps)}: {name}", file=sys.stderr, flush=True)
        quiet = [] if "venv" in command else ["--quiet"]
        done = subprocess.run([*command, *quiet], capture_output=True, text=True)
        if done.returncode:
            words = (done.stderr or done.stdout).strip()
            return fail(f"{' '.join(command)}\n{words}", remedy(name, words))
    print(f"setup: ready after {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


def uv(python: Path, *words: str) -> list[str]:
    return [str(python.with_name("uv")), "pip", "install", "--python", str(python), *words]


def remedy(step: str, words: str) -> str:
    if step == "virtual environment":
        return "on Debian and Ubuntu the module is a package of its own: apt-get install python3-venv"
    if "No space left" in words:
        return "the environment needs about 3 GB: free some space and run it again"
    return "check the network and run it again; what is already installed is kept in the cache"


def fail(what: str, how: str) -> int:
    print(f"setup failed: {what}\n  -> {how}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
