"""Ten edits of the answer prompt that a person would try, and whether each moves what it is about.

    .venv/bin/python engine/benchmarks/prompt_edits.py            # the index and the adapter in build/
    .venv/bin/python engine/benchmarks/prompt_edits.py --rows 60

Each edit takes the place of the sentence that says how to answer, is asked the same questions, and must change the
figure in its direction by a tenth at least. engine/docs/decisions/answers-by-kind.md quotes the table.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).parents[2]
SAID = re.compile(r"Answer the question with the one or two\s+sentences of the passages that say it\.")


def words(text: str) -> float:
    return len(text.split())


def sentences(text: str) -> float:
    return len(re.findall(r"[.!?](?:\s|$)", text))


def lines(text: str) -> float:
    return len(re.findall(r"^\d+\. ", text, re.MULTILINE))


def whole(text: str) -> float:
    """1 for an answer that begins with a capital letter and ends with a full stop."""
    return float(text[:1].isupper() and text.endswith("."))


EDITS: tuple[tuple[str, Callable[[str], float], int], ...] = (
    ("Copy the shortest span of the passages that answers the question.", words, -1),
    ("Answer in as few words as possible.", words, -1),
    ("Give only the fact, no sentence.", words, -1),
    ("Answer in one full sentence.", sentences, -1),
    ("Answer briefly, with a single sentence.", sentences, -1),
    ("Explain the answer in two or three sentences.", sentences, 1),
    ("Give a detailed answer with the reasons.", words, 1),
    ("Answer as a numbered list of steps.", lines, 1),
    ("List the steps, one on each line.", lines, 1),
    ("Answer formally, in complete sentences.", whole, 1),
)


def main(options: argparse.Namespace) -> int:
    rows = [json.loads(line) for line in (ROOT / "data/eval.jsonl").read_text().splitlines()]
    asked = [row for row in rows if row["doc_ids"]][:: max(1, len(rows) // options.rows)]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("prompts", "config", "pipelines", "build", "data"):
            shutil.copytree(ROOT / name, work / name)
        shutil.copy(ROOT / "pyproject.toml", work)
        (work / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
        before = answers(work, None)
        print(f"| {len(asked)} questions: in place of the shipped sentence | figure | shipped | edited | moved |")
        print("|---|---|---|---|---|")
        for said, figure, direction in EDITS:
            old, new = (fmean(map(figure, texts)) for texts in (before, answers(work, said)))
            moved = direction * (new - old) >= 0.1 * max(old, 0.1)
            print(f"| {said} | {figure.__name__} | {old:.1f} | {new:.1f} | {'yes' if moved else 'no'} |", flush=True)
    return 0


def answers(work: Path, said: str | None) -> list[str]:
    """The texts of the answers that are no declines."""
    prompt = (ROOT / "prompts/answer.prompt.yml").read_text()
    if said and not SAID.search(prompt):
        raise SystemExit(f"prompts/answer.prompt.yml: no sentence is like {SAID.pattern!r}")
    (work / "prompts/answer.prompt.yml").write_text(SAID.sub(said, prompt) if said else prompt)
    program = str(Path(sys.executable).with_name("sluice"))
    command = [program, "evaluate", "--asked", str(work / "asked.jsonl"), "--out", str(work / "out")]
    subprocess.run(command, cwd=work, check=True, capture_output=True)
    cases = map(json.loads, (work / "out" / "cases.jsonl").read_text().splitlines())
    return [case["answer"] for case in cases if not case["declined"]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30, help="about how many questions each edit is asked")
    sys.exit(main(parser.parse_args()))
