"""What fine-tuning gains on a data folder: index, base model, training, adapter, all through the real pipeline stages.

    .venv/bin/python benchmarks/quality.py data            # the starter data
    .venv/bin/sluice data import squad.json /tmp/squad --train-articles 18 --licence CC-BY-SA-4.0 --origin SQuAD
    .venv/bin/python benchmarks/quality.py /tmp/squad --never-decline --seeds 1 2 3

`--never-decline` turns retrieval.min_similarity off, for data in which every question has its answer: the threshold in
config/service.yaml was chosen on the starter data.

`--set train.steps=144` trains with other parameters than pipelines/params.yaml has.

With several seeds the adapter is trained with each, and the figures are their means: on a hundred questions one run and
the next differ by a few hundredths.

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
from statistics import fmean

import yaml

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


def main(data: Path, never_decline: bool, seeds: list[int], changes: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("prompts", "config", "pipelines"):
            shutil.copytree(ROOT / name, work / name)
        shutil.copy(ROOT / "pyproject.toml", work)
        shutil.copytree(data, work / "data")
        if never_decline:
            service = work / "config" / "service.yaml"
            service.write_text(re.sub(r"(min_similarity:) [\d.]+", r"\1 -1", service.read_text()))
        if changes:
            run(work, "params", "set", *changes)
        run(work, "index", "build")
        before = evaluate(work, "--baseline")
        after = [trained(work, seed) for seed in seeds]
    print("| metric | base model | with adapter | gain | each seed |\n|---|---|---|---|---|")
    for name in SHOWN:
        old, found = before[name], [new[name] for new in after]
        known = [value for value in found if value is not None]
        if old is not None and len(known) == len(found):
            each = ", ".join(f"{value:.3g}" for value in known)
            print(f"| {name} | {old:.3g} | {fmean(known):.3g} | {fmean(known) - old:+.3g} | {each} |")
    return 0


def trained(work: Path, seed: int) -> dict[str, float | None]:
    """The figures with an adapter of this seed."""
    params = work / "pipelines" / "params.yaml"
    document = yaml.safe_load(params.read_text())
    document["train"]["seed"] = seed
    params.write_text(yaml.safe_dump(document))
    began = time.monotonic()
    run(work, "train")
    stage = time.monotonic() - began
    training = json.loads((work / "build" / "adapter" / "training.json").read_text())
    peak = training["peak_memory_bytes"] / 2**30
    said = f"training {training['seconds']:.0f} s ({stage:.0f} s with loading and export), peak {peak:.1f} GiB"
    print(f"seed {seed}: {said}", file=sys.stderr)
    return evaluate(work)


def evaluate(work: Path, *options: str) -> dict[str, float | None]:
    run(work, "evaluate", *options, "--out", str(work / "build" / "evaluation"))
    metrics: dict[str, float | None] = json.loads((work / "build" / "evaluation" / "metrics.json").read_text())
    return metrics


def run(work: Path, *words: str) -> None:
    print("running: sluice", *words, file=sys.stderr)
    program = Path(sys.executable).with_name("sluice")
    subprocess.run([str(program), *words], cwd=work, check=True, stdout=subprocess.DEVNULL, env={**os.environ})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with corpus/, train.jsonl, eval.jsonl")
    parser.add_argument("--never-decline", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of training")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="parameters, such as train.steps=144"
    )
    arguments = parser.parse_args()
    sys.exit(main(arguments.data.resolve(), arguments.never_decline, arguments.seeds, arguments.set))
