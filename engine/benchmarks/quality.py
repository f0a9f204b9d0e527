"""What fine-tuning gains on a data folder: index, guard model, base model, training, adapter, all through the real
pipeline stages.

    .venv/bin/python engine/benchmarks/quality.py data            # the starter data
    .venv/bin/python engine/benchmarks/squad.py squad.json /tmp/squad --train-articles 18
    .venv/bin/python engine/benchmarks/quality.py /tmp/squad --never-decline --seeds 1 2 3

A folder without guard/ gets the rows of the starter data: what an attack looks like does not depend on the articles.

`--never-decline` turns retrieval.min_similarity off, for data in which every question has its answer: the threshold in
config/service.yaml was chosen on the starter data.

`--spans` has the service answer with words in a row out of a passage (`answers: spans`).

`--passages 2` shows so many, in training and in serving. `--set train.steps=144` trains with other parameters than
pipelines/params.yaml has.

`--steps 36 72 120 240` makes the curve over budgets instead: one line for each number of steps, without the base model.

With several seeds the adapter is trained with each, and the figures are their means: on a hundred questions one run and
the next differ by a few hundredths.

Works in a temporary copy of the checkout. Prints a table in Markdown.
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

ROOT = Path(__file__).parents[2]
SHOWN = (
    "exact_match",
    "f1",
    "contains_answer",
    "decline_accuracy",
    "recall_at_5",
    "citation_correctness",
    "latency_p50_ms",
)


def main(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("prompts", "config", "pipelines"):
            shutil.copytree(ROOT / name, work / name)
        shutil.copy(ROOT / "pyproject.toml", work)
        shutil.copytree(options.data.resolve(), work / "data")
        if not (work / "data" / "guard").is_dir():
            starter = ROOT / "data" / "guard"
            if not starter.is_dir():
                raise SystemExit(f"{starter}: missing; fetch it with `.venv/bin/dvc pull`")
            shutil.copytree(starter, work / "data" / "guard")
        changes = options.set
        if options.never_decline:
            serve_with(work, r"  min_similarity: [\d.]+", "  min_similarity: -1")
        if options.spans:
            serve_with(work, r"answers: \w+", "answers: spans")
        if options.passages:
            serve_with(work, r"  k: \d+", f"  k: {options.passages}")
            changes = [*changes, f"train.passages={options.passages}"]
        if changes:
            run(work, "params", "set", *changes)
        run(work, "index", "build")
        run(work, "guard", "train")
        if options.steps:
            curve(work, options.seeds, options.steps)
        else:
            compare(work, options.seeds)
    return 0


def serve_with(work: Path, line: str, now: str) -> None:
    """Changes a line of config/service.yaml; `line` is a pattern of its beginning."""
    service = work / "config" / "service.yaml"
    text, found = re.subn(f"^{line}", now, service.read_text(), count=1, flags=re.MULTILINE)
    if not found:
        raise SystemExit(f"{service}: no line is {line}")
    service.write_text(text)


def compare(work: Path, seeds: list[int]) -> None:
    """The base model beside the adapter, metric by metric."""
    before = evaluate(work, "--baseline")
    after = [trained(work, seed)[1] for seed in seeds]
    print("| metric | base model | with adapter | gain | each seed |\n|---|---|---|---|---|")
    for name in SHOWN:
        old, found = before[name], [new[name] for new in after]
        known = [value for value in found if value is not None]
        if old is not None and len(known) == len(found):
            each = ", ".join(f"{value:.3g}" for value in known)
            print(f"| {name} | {old:.3g} | {fmean(known):.3g} | {fmean(known) - old:+.3g} | {each} |")


def curve(work: Path, seeds: list[int], steps: list[int]) -> None:
    """A line for each budget, as soon as it is known."""
    names = ("exact_match", "f1", "contains_answer", "citation_correctness")
    print(f"| steps | minutes of training | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}", flush=True)
    for number in steps:
        run(work, "params", "set", f"train.steps={number}")
        made = [trained(work, seed) for seed in seeds]
        minutes = fmean(seconds for seconds, _ in made) / 60
        cells = [f"{fmean(figures[name] or 0.0 for _, figures in made):.3g}" for name in names]
        print(f"| {number} | {minutes:.1f} | {' | '.join(cells)} |", flush=True)


def trained(work: Path, seed: int) -> tuple[float, dict[str, float | None]]:
    """Seconds of training, and the figures with an adapter of this seed."""
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
    return training["seconds"], evaluate(work)


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
    parser.add_argument("--spans", action="store_true", help="answers that are spans of the passages")
    parser.add_argument("--passages", type=int, metavar="N", help="in a prompt, in training and in serving")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of training")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="parameters, such as train.steps=144"
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[], help="the curve over these, not the base model")
    sys.exit(main(parser.parse_args()))
