"""Prints prompts in the terminal: what there is, what changed since a commit, and how their tests went."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from sluice.core import git
from sluice.evaluation.summary import percentile
from sluice.extras.prompt_tests.run_prompt_tests import PromptRun
from sluice.prompts.prompt import SUFFIX, Prompt, parse_prompts

_DIGITS = 12  # of a digest


def print_prompts(prompts: Mapping[str, Prompt]) -> None:
    width = max(map(len, prompts), default=0)
    for name, prompt in prompts.items():
        variables = ", ".join(v.name if v.required else f"{v.name}?" for v in prompt.variables) or "no variables"
        print(f"{name:<{width}}  {prompt.digest[:_DIGITS]}  {prompt.model:<5}  {variables}")
        print(textwrap.indent(textwrap.fill(prompt.description, 100 - width), " " * (width + 2)))


def describe_changes(root: Path, ref: str, head: Mapping[str, Prompt]) -> str:
    """Return the digests of prompts that another version has, and git's account of the words that changed."""
    commit = git.resolve(root, ref)
    base = prompts_of(root, ref, commit)
    pairs = {name: [one.get(name) for one in (base, head)] for name in sorted({*base, *head})}
    digests = {name: [one.digest[:_DIGITS] if one else "none" for one in pair] for name, pair in pairs.items()}
    lines = [f"{name}  {old} -> {new}" for name, (old, new) in digests.items() if old != new]
    if same := [name for name, (old, new) in digests.items() if old == new]:
        lines.append(f"same version as in {ref}: {', '.join(same)}")
    words = git.run(root, "diff", "--no-color", "--word-diff=plain", "--unified=1", commit, "--", "prompts/")
    return "\n".join([*lines, *(["", words] if words else [])])


def prompts_of(root: Path, ref: str, commit: str) -> dict[str, Prompt]:
    """Return the prompts of a commit, whatever the working tree holds."""
    paths = git.run(root, "ls-tree", "--name-only", "-z", commit, "prompts/").split("\0")
    chosen = [path for path in paths if path.endswith(SUFFIX)]
    return parse_prompts(ref, {f"{ref}:{path}": git.run_bytes(root, "show", f"{commit}:{path}") for path in chosen})


_HEAD = ("prompt", "digest", "passed", "failed", "not evaluated", "recorded", "p50 ms")
_LONGEST = 300  # characters of an answer


def print_tests(tested: PromptRun) -> None:
    """Print the results; the last line is `PASSED n/m`."""
    table = [_HEAD, *(_line(tested, name) for name in dict.fromkeys(case.prompt.name for case in tested.cases))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        first = [cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False)]
        figures = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        print("  ".join([*first, *figures]))
    for note in tested.notes:
        print(f"not asked: {note}")
    for record in tested.records:
        if record["faults"]:
            print(f"{record['id']}: {'; '.join(record['faults'])}")
            if record["answer"] is not None:
                print(f"  answer: {record['answer'][:_LONGEST]!r}")
    print(f"PASSED {tested.passed}/{len(tested.records)}")


def _line(tested: PromptRun, name: str) -> tuple[str, ...]:
    pairs = zip(tested.cases, tested.records, strict=True)
    records = [record for case, record in pairs if case.prompt.name == name]
    passed = sum(not record["faults"] for record in records)
    missed = sum(record["status"] == "not_evaluated" for record in records)
    times = [record["latency_ms"] for record in records if record["latency_ms"] is not None]
    recorded = sum(record["recorded"] for record in records)
    middle = f"{percentile(times, 0.5):.0f}" if times else "-"
    digest = next(case.prompt.digest[:12] for case in tested.cases if case.prompt.name == name)
    counts = (passed, len(records) - passed - missed, missed, recorded)
    return (name, digest, *map(str, counts), middle)
