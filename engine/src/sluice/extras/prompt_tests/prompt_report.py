"""Terminal report of prompt tests: a line for each prompt, the failed cases, the verdict last."""

from __future__ import annotations

from sluice.evaluation.summary import percentile
from sluice.extras.prompt_tests.run_prompt_tests import PromptRun

_HEAD = ("prompt", "digest", "passed", "failed", "not evaluated", "recorded", "p50 ms")
_LONGEST = 300  # characters of an answer


def print_tests(tested: PromptRun) -> None:
    """The last line is `PASSED n/m`."""
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
    mine = [
        (case.prompt, one) for case, one in zip(tested.cases, tested.records, strict=True) if case.prompt.name == name
    ]
    records = [record for _, record in mine]
    passed = sum(not record["faults"] for record in records)
    missed = sum(record["status"] == "not_evaluated" for record in records)
    times = [record["latency_ms"] for record in records if record["latency_ms"] is not None]
    recorded = sum(record["recorded"] for record in records)
    middle = f"{percentile(times, 0.5):.0f}" if times else "-"
    digest = mine[0][0].digest[:12]
    counts = (passed, len(records) - passed - missed, missed, recorded)
    return (name, digest, *map(str, counts), middle)
