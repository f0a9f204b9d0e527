"""The status for people, on standard output."""

from __future__ import annotations

from collections.abc import Iterator

from sluice.extras.status.prometheus_status import WINDOW
from sluice.extras.status.service_status import ServiceFigures
from sluice.extras.status.workspace_status import WorkspaceStatus


def show(status: WorkspaceStatus) -> None:
    """Prints what is live, health, the last verdicts, the error budget and the problems.

    Args:
        status: Of the project.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, text in _rows(status):
        table.add_row(Text(name, style="bold"), Text(text))
    Console(highlight=False).print(table)


def _rows(status: WorkspaceStatus) -> Iterator[tuple[str, str]]:
    live, service = status.champion, status.service
    yield "live", f"{live.id}  {live.event} {live.time}" if live else "nothing"
    yield "service", f"{service.url}  {service.state}" + (f"  {service.release}" if service.reached else "")
    if service.figures:
        yield from _figures(service.figures)
    for one in status.cluster.namespaces if status.cluster else ():
        pods = ", ".join(f"{count} of {release}" for release, count in sorted(one.pods.items()))
        yield "pods", f"{one.project} {one.namespace}  {pods or 'none'}"
        if one.dollars:
            yield "used", f"{one.project} {one.namespace}  ${one.dollars:.2f}, {WINDOW}"
    for budget in status.budgets:
        used = f"{budget.errors:.0f} errors of {budget.questions:.0f} questions, {budget.window}"
        yield "budget", f"{budget.where}  {budget.left:.0%} left of {1 - budget.objective:.2%}  ({used})"
    for verdict in status.verdicts:
        reason = verdict.reason.partition("\n")[0]
        yield "verdict", f"{verdict.release}  {verdict.state}: {verdict.title}" + (f". {reason}" if reason else "")
    for event in status.events:
        yield "record", f"{event.time}  {event.event}  {event.id}  {event.reason}".rstrip()
    for problem in status.problems:
        yield "problem", problem
    if not status.problems:
        yield "all well", ""


def _figures(one: ServiceFigures) -> Iterator[tuple[str, str]]:
    yield "questions", f"{one.questions} answered, {one.errors} of them errors, {one.refused} refused at the door"
    yield "now", f"{one.in_flight} being answered, {one.waiting} waiting"
    if one.answer_p95 is not None:
        first = f"{one.first_token_p95:.2f} s to the first text, " if one.first_token_p95 is not None else ""
        yield "p95", f"{first}{one.answer_p95:.2f} s to the end"
    yield "used", f"{one.tokens} tokens, ${one.dollars:.4f}"
