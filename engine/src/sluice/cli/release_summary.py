"""Tables that summarize a release: metrics against the champion, and the verdict of each canary step."""

from __future__ import annotations

import os
from collections.abc import Iterator

from sluice.core.atomic_files import read_json
from sluice.github.job_summary import write_job_summary
from sluice.github.markdown_table import table
from sluice.jobs.release_job import ReleaseOutcome
from sluice.release.staging import CHAMPION_SUMMARY

_METRICS = ("metric", "champion", "candidate", "change")
_STEPS = ("step", "weight", "seconds", "verdict")


def show_release(outcome: ReleaseOutcome) -> None:
    """Print the outcome and, in GitHub Actions, write it to the job summary."""
    from rich.console import Console
    from rich.markdown import Markdown

    write_job_summary(summary(outcome), os.environ)
    console = Console(highlight=False)
    if outcome.verdict == "unchanged":
        console.print(f"Nothing changed: {outcome.manifest.id} is live and stays live.")
        return
    console.print(f"{outcome.manifest.id} against the champion {outcome.champion.id if outcome.champion else 'none'}")
    console.print(Markdown(_tables(outcome)))
    taken = ", ".join(f"{entry['stage']} {entry['seconds']:.0f} s" for entry in outcome.stages)
    console.print(f"stages   {taken}", soft_wrap=True)
    console.print(f"release  [bold]{outcome.manifest.id}[/bold]  {outcome.verdict}")
    if outcome.passed:
        console.print("talk     make serve, then POST http://127.0.0.1:8080/v1/chat/completions", soft_wrap=True)
    console.print(f"report   {outcome.folder / 'report.html'}", soft_wrap=True)


def summary(outcome: ReleaseOutcome) -> str:
    """Return the outcome as Markdown for GitHub."""
    head = f"### Release {outcome.manifest.id}: {outcome.verdict}\n\n"
    if outcome.verdict == "unchanged":
        return head
    reason = table(("reason",), [(outcome.reason,)]) + "\n" if outcome.reason else ""
    return head + reason + _tables(outcome)


def _tables(outcome: ReleaseOutcome) -> str:
    steps = "\n" + table(_STEPS, _steps(outcome)) if outcome.rehearsal else ""
    return table(_METRICS, _metrics(outcome)) + steps


def _metrics(outcome: ReleaseOutcome) -> Iterator[tuple[str, ...]]:
    folder = outcome.folder / "evaluation"
    theirs = read_json(folder / CHAMPION_SUMMARY)["metrics"] if outcome.champion else {}
    for name, figure in read_json(folder / "summary.json")["metrics"].items():
        mine, other = figure["value"], theirs.get(name, {}).get("value")
        change = "" if mine is None or other is None else f"{mine - other:+.3g}"
        yield name, _number(other), _number(mine), change


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _steps(outcome: ReleaseOutcome) -> Iterator[tuple[str, ...]]:
    for step in outcome.rehearsal.steps if outcome.rehearsal else ():
        name = f"{step.kind} {step.template}".strip()
        yield name, f"{step.weight} %", f"{step.seconds:.0f}", f"{step.verdict} {step.reason}".strip()
