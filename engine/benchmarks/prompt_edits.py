"""Edits of the answer prompt that a person would try, and whether each moves what it is about.

    .venv/bin/python engine/benchmarks/prompt_edits.py            # the index and the adapter in build/
    .venv/bin/python engine/benchmarks/prompt_edits.py --rows 120

Each edit takes the place of the sentence that says how to answer, and is asked the same questions. It has moved its
metric where the verdict of `sluice eval` says so, in the edit's direction: `improved`, or `worse` where more is asked
for of what less is better of. engine/docs/decisions/answers-by-kind.md quotes the table.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "src"))  # the metrics are the project's

from sluice.evaluation.comparison import compare  # noqa: E402 - found by the line above
from sluice.evaluation.comparison_policy import load_policy  # noqa: E402
from sluice.evaluation.registry import METRICS  # noqa: E402

SAID = re.compile(r"Answer the question with the one or two\s+sentences of the passages that say it\.")
EDITS: tuple[tuple[str, str, int], ...] = (
    ("Copy the shortest span of the passages that answers the question.", "answer_words", -1),
    ("Answer in as few words as possible.", "answer_words", -1),
    ("Give only the fact, no sentence.", "answer_words", -1),
    ("Answer in one full sentence.", "answer_sentences", -1),
    ("Answer briefly, with a single sentence.", "answer_sentences", -1),
    ("Explain the answer in two or three sentences.", "answer_sentences", 1),
    ("Give a detailed answer with the reasons.", "answer_words", 1),
    ("Answer as a numbered list of steps.", "answer_steps", 1),
    ("List the steps, one on each line.", "answer_steps", 1),
    ("Answer in a sentence and say where it stands.", "names_source", 1),
    ("Answer formally, in complete sentences.", "names_source", 1),
)


def main(options: argparse.Namespace) -> int:
    rows = [json.loads(line) for line in (ROOT / "data/eval.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["doc_ids"]]
    asked = rows[:: max(1, len(rows) // options.rows)]
    names = dict.fromkeys(name for _, name, _ in EDITS)
    metrics = [METRICS[name] for name in names]
    policy = load_policy(ROOT / "config" / "gates.yaml")
    policy = policy.model_copy(
        update={
            "metrics": {
                name: policy.metrics[name].model_copy(update={"decides": "when_asked"})
                for name in names
                if name in policy.metrics
            }
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("prompts", "config", "pipelines", "build", "data"):
            shutil.copytree(ROOT / name, work / name)
        shutil.copy(ROOT / "pyproject.toml", work)
        (work / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
        before = answers(work, None)
        print(f"| {len(asked)} questions: in the place of the sentence | metric | shipped | edited | verdict | moved |")
        print("|---|---|---|---|---|---|")
        for said, name, direction in EDITS:
            found = compare(before, answers(work, said), metrics, policy).metrics  # type: ignore[arg-type]
            (one,) = [one for one in found if one.name == name]
            moved = one.verdict == ("improved" if (direction > 0) is (one.direction == "higher") else "worse")
            old, new = one.judgement.base, one.judgement.head
            print(
                f"| {said} | {name} | {old:.1f} | {new:.1f} | {one.verdict} | {'yes' if moved else 'no'} |", flush=True
            )
    return 0


def answers(work: Path, said: str | None) -> list[dict[str, Any]]:
    """The records of the answers."""
    prompt = (ROOT / "prompts/answer.prompt.yml").read_text()
    if said and not SAID.search(prompt):
        raise SystemExit(f"prompts/answer.prompt.yml: no sentence is like {SAID.pattern!r}")
    (work / "prompts/answer.prompt.yml").write_text(SAID.sub(said, prompt) if said else prompt)
    program = str(Path(sys.executable).with_name("sluice"))
    command = [program, "evaluate", "--asked", str(work / "asked.jsonl"), "--out", str(work / "out")]
    subprocess.run(command, cwd=work, check=True, capture_output=True)
    return [json.loads(line) for line in (work / "out" / "cases.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60, help="about how many questions each edit is asked")
    sys.exit(main(parser.parse_args()))
