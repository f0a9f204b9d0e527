"""Ask candidate and champion the same cases until the verdict is decided (`sluice evaluate --against`)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json, read_jsonl
from sluice.core.progress import StageReporter
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows
from sluice.evaluation.application import model_digest
from sluice.evaluation.asked_rows import asking_order, rows_of
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.evaluate_stage import (
    RecordedScores,
    metrics_digest,
    open_evaluation,
    record_evaluation,
    scores_digest,
    write,
)
from sluice.evaluation.response_cache import ResponseCache, rebuilding, responses_folder
from sluice.evaluation.runner import rescore
from sluice.evaluation.sequential import SequentialComparison
from sluice.release.decision import REFERENCE, sampled
from sluice.release.manifest import JUDGING_CASES
from sluice.release.release_bundle import open_bundle
from sluice.serving.release_parts import ReleaseBundle


def run(workspace: Workspace, bundle: ReleaseBundle, champion: Path, out: Path) -> dict[str, Any]:
    """Evaluate a bundle beside the champion, whose stored answers to unchanged rows are reused; write both results."""
    rows, gates = asking_order(rows_of(workspace)), workspace.config / "gates.yaml"
    stored, scored = _stored(champion, rows)
    progress = StageReporter("evaluate")
    with ExitStack() as opened:
        ask_candidate, metrics = opened.enter_context(open_evaluation(workspace, bundle))
        live = cache(lambda: opened.enter_context(open_evaluation(workspace, open_bundle(champion, workspace)))[0])
        score = RecordedScores(
            ResponseCache(responses_folder(workspace.state)), metrics, scores_digest(bundle, model_digest(bundle))
        )
        asked = 0

        def ask(some: Sequence[Row]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
            nonlocal asked
            new = ask_candidate(some, lambda done, _: progress.report(asked + done, len(rows), note="cases"))
            asked += len(some)
            known = [record for row in some for record in stored.get(row.id, ())]
            missing = [row for row in some if row.id not in stored]
            known = known if scored else rescore(known, some, score)
            return known + (rescore(live()(missing), missing, score) if missing else []), new

        test = SequentialComparison(metrics, load_policy(gates), len(rows))
        found, old, new = test.ask_until_decided(
            rows, ask, enough=lambda cases: sampled(gates, cases, metrics), at_once=rebuilding()
        )
    decided = {record["id"] for record in new}
    some = [row for row in rows if row.id in decided]
    write(workspace.build / REFERENCE, some, old, metrics, planned=len(rows))
    summary = write(out, some, new, metrics, planned=len(rows))
    record_evaluation(workspace, bundle, summary, out)
    if found.stopped:
        print(found.stopped)
    return summary


def _stored(champion: Path, rows: Sequence[Row]) -> tuple[dict[str, list[dict[str, Any]]], bool]:
    """Return the champion's records of unchanged rows by id, and whether today's metrics scored them."""
    before = {row.id: row for row in load_rows(champion / JUDGING_CASES)}
    same = {row.id for row in rows if before.get(row.id) == row}
    found: dict[str, list[dict[str, Any]]] = {}
    for record in read_jsonl(champion / "evaluation" / "cases.jsonl"):
        if record["id"] in same:
            found.setdefault(record["id"], []).append(record)
    return found, read_json(champion / "evaluation" / "summary.json").get("scored_by") == metrics_digest()
