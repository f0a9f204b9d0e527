"""The `sluice evaluate` command, a pipeline stage, and `sluice eval`, which compares two evaluations."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.common import BaseOption, ReplayOption, find_release, print_json, tell
from sluice.core.atomic_files import write_atomic
from sluice.core.errors import GateFailed, SluiceError
from sluice.core.extras import hooks
from sluice.core.workspace import Workspace
from sluice.github.workflow_run import warning_at

if TYPE_CHECKING:
    from sluice.evaluation.comparison_result import Comparison

_CASES = 10  # named in an annotation


def evaluate(
    release: Annotated[str, typer.Option(help="Release id; default: the build in build/.")] = "",
    baseline: Annotated[bool, typer.Option("--baseline", help="Evaluate the base model without an adapter.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: build/evaluation.")] = None,
    against: Annotated[str, typer.Option(help="Release id: stop when the comparison with it is decided.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Ask the rows of each file named on stdin.")] = False,
    replay: ReplayOption = False,
) -> None:
    """Ask the application every case in data/eval.jsonl and score the answers (pipeline stage)."""
    from sluice.evaluation import evaluate_stage
    from sluice.jobs import evaluate_candidate
    from sluice.release.release_bundle import open_bundle
    from sluice.serving.release_parts import draft_adapter, draft_bundle

    workspace = Workspace.find()
    if release:
        bundle = open_bundle(find_release(workspace, release)[1], workspace)
    else:
        bundle = draft_bundle(workspace, adapter=None if baseline else draft_adapter(workspace))
    if follow:
        evaluate_stage.follow(workspace, bundle, (line.strip() for line in sys.stdin), replay=replay)
        return
    if replay:
        raise typer.BadParameter("only with --follow", param_hint="--replay")
    out = out or workspace.build / "evaluation"
    if against:
        summary = evaluate_candidate.run(workspace, bundle, find_release(workspace, against)[1], out)
    else:
        summary = evaluate_stage.run(workspace, bundle, out)
    if recorded := summary["recorded"]:
        print(f"evaluate: {recorded} of {summary['cases']} answers and their times out of the cache", file=sys.stderr)
    print_json({name: metric["value"] for name, metric in summary["metrics"].items()})


def eval_change(
    base: BaseOption = "origin/main",
    head: Annotated[str, typer.Option(help="Branch, tag or commit of the change; default: the working tree.")] = "",
    replay: ReplayOption = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the reports; default: build/comparison.")] = None,
    publish: Annotated[bool, typer.Option("--publish", help="In GitHub Actions, add to the job summary.")] = False,
) -> None:
    """Compare a change with its base, case by case: better answers, broken answers and confidence."""
    from sluice.core.text import code
    from sluice.evaluation.reports.comparison_page import COMMENT, PAGE
    from sluice.evaluation.reports.phrasing import in_the_terminal
    from sluice.jobs.compare_change import review

    workspace = Workspace.find()
    folder = out or workspace.build / "comparison"
    try:
        found = review(workspace, base, head, replay=replay, out=folder)
    except SluiceError as error:
        text = f"## ! Could not be compared\n\n{code(error.message)}\n\n{code(error.remedy)}\n"
        _tell(folder / COMMENT, text, publish)
        raise
    if found.comparison is None or found.reports is None:
        text = f"## = Nothing to compare: {found.title}.\n"
        print(text[5:].strip())
    else:
        print(found.title)
        if found.replayed:
            print(f"no model was called ({found.replayed}): answers are those of the response cache")
        text = (found.reports / COMMENT).read_text()
        print(in_the_terminal(found.comparison))
        print(f"reports: {found.reports}")
    elsewhere = next(filter(None, (ask(found, os.environ) for ask in hooks("unanswered").values())), None)
    if elsewhere:  # the verdict is not about this comparison
        text = f"### {elsewhere.message}\n\n{elsewhere.remedy}\n"
    _tell(folder / COMMENT, text, publish)
    if elsewhere and elsewhere.exit_code:
        raise elsewhere
    if elsewhere:
        return
    if found.comparison is not None and not found.comparison.passed:
        if publish:
            _annotate(found.comparison, found.edited)
        remedy = f"{found.reports}/{PAGE} shows the cases"
        raise GateFailed(f"the verdict is: {found.comparison.verdict}", remedy=remedy)


def _annotate(comparison: Comparison, edited: Mapping[str, int]) -> None:
    """Name the cases that got worse where the pull request shows the edit of a prompt."""
    if broken := [f"{case.id}: {case.pair.case.question}" for case in comparison.cases if case.status == "broken"]:
        title = f"{len(broken)} case{'s' * (len(broken) > 1)} got worse"
        for path, line in edited.items():
            print(warning_at(path, line, title, "\n".join(broken[:_CASES])))


def _tell(comment: Path, text: str, publish: bool) -> None:
    write_atomic(comment, text)
    if publish:
        tell(text)
