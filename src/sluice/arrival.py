"""The table at the end of the road: what was released, how it compares, what each canary step said."""

from __future__ import annotations

from typing import Any

from sluice.core.files import read_json
from sluice.road import Arrival


def show_arrival(arrival: Arrival) -> None:
    """Prints the outcome for people, on standard output."""
    from rich.console import Console

    console = Console(highlight=False)
    if arrival.verdict == "unchanged":
        console.print(f"Nothing changed: {arrival.manifest.id} is live and stays live.")
        return
    console.print(_metrics(arrival))
    if arrival.rehearsal:
        console.print(_steps(arrival))
    taken = ", ".join(f"{entry['stage']} {entry['seconds']:.0f} s" for entry in arrival.stages)
    console.print(f"stages   {taken}", soft_wrap=True)
    console.print(f"release  [bold]{arrival.manifest.id}[/bold]  {arrival.verdict}")
    if arrival.passed:
        console.print("talk     make serve, then POST http://127.0.0.1:8080/v1/chat/completions", soft_wrap=True)
    console.print(f"report   {arrival.folder / 'report.html'}", soft_wrap=True)


def _metrics(arrival: Arrival) -> Any:
    from rich.table import Table

    before = arrival.champion.id if arrival.champion else "none"
    table = Table(title=f"{arrival.manifest.id} against the champion {before}")
    for name, justify in (("metric", "left"), ("champion", "right"), ("candidate", "right"), ("change", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    ours = read_json(arrival.folder / "evaluation" / "summary.json")["metrics"]
    theirs = arrival.champion.evaluation.metrics if arrival.champion else {}
    for name, figure in ours.items():
        mine, other = figure["value"], theirs.get(name)
        change = "" if mine is None or other is None else f"{mine - other:+.3g}"
        table.add_row(name, _number(other), _number(mine), change)
    return table


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _steps(arrival: Arrival) -> Any:
    from rich.table import Table

    table = Table(title="canary, step by step")
    for name in ("step", "weight", "seconds", "verdict"):
        table.add_column(name, justify="left" if name in ("step", "verdict") else "right")
    for step in arrival.rehearsal.steps if arrival.rehearsal else ():
        name = f"{step.kind} {step.template}".strip()
        table.add_row(name, f"{step.weight} %", f"{step.seconds:.0f}", f"{step.verdict} {step.reason}".strip())
    return table
