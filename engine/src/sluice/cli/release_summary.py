"""The tables at the end of the road: what was released, how it compares, what each canary step said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from sluice.core.files import read_json
from sluice.github.job_summary import write_job_summary
from sluice.github.markdown import table
from sluice.jobs.release import Arrival

_METRICS = ("metric", "champion", "candidate", "change")
_STEPS = ("step", "weight", "seconds", "verdict")


def show_arrival(arrival: Arrival) -> None:
    """Prints the outcome for people, on standard output; in GitHub Actions it is in the summary of the job as well."""
    from rich.console import Console

    write_job_summary(summary(arrival), os.environ)
    console = Console(highlight=False)
    if arrival.verdict == "unchanged":
        console.print(f"Nothing changed: {arrival.manifest.id} is live and stays live.")
        return
    console.print(_table(_title(arrival), _METRICS, _metrics(arrival), words=(0,)))
    if arrival.rehearsal:
        console.print(_table("canary, step by step", _STEPS, _steps(arrival), words=(0, 3)))
    taken = ", ".join(f"{entry['stage']} {entry['seconds']:.0f} s" for entry in arrival.stages)
    console.print(f"stages   {taken}", soft_wrap=True)
    console.print(f"release  [bold]{arrival.manifest.id}[/bold]  {arrival.verdict}")
    if arrival.passed:
        console.print("talk     make serve, then POST http://127.0.0.1:8080/v1/chat/completions", soft_wrap=True)
    console.print(f"report   {arrival.folder / 'report.html'}", soft_wrap=True)


def summary(arrival: Arrival) -> str:
    """The same as Markdown for GitHub."""
    head = f"### Release {arrival.manifest.id}: {arrival.verdict}\n\n"
    if arrival.verdict == "unchanged":
        return head
    steps = "\n" + table(_STEPS, _steps(arrival)) if arrival.rehearsal else ""
    reason = table(("reason",), [(arrival.reason,)]) + "\n" if arrival.reason else ""
    return head + reason + table(_METRICS, _metrics(arrival)) + steps


def _title(arrival: Arrival) -> str:
    return f"{arrival.manifest.id} against the champion {arrival.champion.id if arrival.champion else 'none'}"


def _table(title: str, head: tuple[str, ...], rows: Iterator[tuple[str, ...]], *, words: tuple[int, ...]) -> Any:
    from rich.table import Table

    shown = Table(title=title)
    for number, name in enumerate(head):
        shown.add_column(name, justify="left" if number in words else "right")
    for row in rows:
        shown.add_row(*row)
    return shown


def _metrics(arrival: Arrival) -> Iterator[tuple[str, ...]]:
    ours = read_json(arrival.folder / "evaluation" / "summary.json")["metrics"]
    theirs = arrival.champion.evaluation.metrics if arrival.champion else {}
    for name, figure in ours.items():
        mine, other = figure["value"], theirs.get(name)
        change = "" if mine is None or other is None else f"{mine - other:+.3g}"
        yield name, _number(other), _number(mine), change


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _steps(arrival: Arrival) -> Iterator[tuple[str, ...]]:
    for step in arrival.rehearsal.steps if arrival.rehearsal else ():
        name = f"{step.kind} {step.template}".strip()
        yield name, f"{step.weight} %", f"{step.seconds:.0f}", f"{step.verdict} {step.reason}".strip()
