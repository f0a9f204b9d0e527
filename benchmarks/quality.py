"""What fine-tuning gains on a data folder: index, base model, training, adapter, all through the real pipeline stages.

    .venv/bin/python benchmarks/quality.py data            # the starter data
    .venv/bin/sluice data import-squad squad.json /tmp/squad --train-articles 18
    .venv/bin/python benchmarks/quality.py /tmp/squad --never-decline

`--never-decline` turns retrieval.min_similarity off, for data in which every question has its answer: the threshold in
config/service.yaml was chosen on the starter data.

Works in a temporary copy of the checkout. Prints a table in Markdown; docs/reference/training.md quotes it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHOWN = (
    "exact_match",
    "f1",
    "contains_answer",
    "decline_accuracy",
    "recall_at_5",
    "citation_correctness",
    "latency_p50_ms",
)


def main(data: Path, never_decline: bool) -> int:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("prompts", "config", "pipelines"):
            shutil.copytree(ROOT / name, work / name)
        shutil.copy(ROOT / "pyproject.toml", work)
        shutil.copytree(data, work / "data")
        if never_decline:
            service = work / "config" / "service.yaml"
            service.write_text(re.sub(r"(min_similarity:) [\d.]+", r"\1 -1", service.read_text()))
        run(work, "index", "build")
        before = evaluate(work, "--baseline")
        began = time.monotonic()
        run(work, "train")
        stage = time.monotonic() - began
        after = evaluate(work)
        training = json.loads((work / "build" / "adapter" / "training.json").read_text())
    print("| metric | base model | with adapter | gain |\n|---|---|---|---|")
    for name in SHOWN:
        old, new = before[name], after[name]
        if old is not None and new is not None:
            print(f"| {name} | {old:.3g} | {new:.3g} | {new - old:+.3g} |")
    peak = training["peak_memory_bytes"] / 2**30
    print(f"\ntraining {training['seconds']:.0f} s ({stage:.0f} s with loading and export), peak {peak:.1f} GiB")
    return 0


def evaluate(work: Path, *options: str) -> dict[str, float | None]:
    run(work, "evaluate", *options, "--out", str(work / "build" / "evaluation"))
    metrics: dict[str, float | None] = json.loads((work / "build" / "evaluation" / "metrics.json").read_text())
    return metrics


def run(work: Path, *words: str) -> None:
    print("running: sluice", *words, file=sys.stderr)
    sluice = Path(sys.executable).with_name("sluice")
    subprocess.run([str(sluice), *words], cwd=work, check=True, stdout=subprocess.DEVNULL, env={**os.environ})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with corpus/, train.jsonl, eval.jsonl")
    parser.add_argument("--never-decline", action="store_true")
    arguments = parser.parse_args()
    sys.exit(main(arguments.data.resolve(), arguments.never_decline))
