"""Compares a change with its merge base (`sluice eval`).

Both sides run the pipeline with their own code, prompts, config and data, and answer the head's cases until the
verdict is decided. The base is a commit, so its answers are cached.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from sluice.core import git
from sluice.core.atomic_files import read_json, read_jsonl, write_jsonl
from sluice.core.closures import CODE, SERVE, STAGES, affecting
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.core.processes import program
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, write_rows
from sluice.evaluation.application import model_digest
from sluice.evaluation.asked_rows import asking_order, rows_of
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.evaluate_stage import RecordedScores, open_metrics, scores_digest
from sluice.evaluation.reports.comparison_page import write_reports
from sluice.evaluation.reports.phrasing import ComparedVersion
from sluice.evaluation.response_cache import FOLDER, MISSING, ResponseCache
from sluice.evaluation.runner import rescore
from sluice.evaluation.sequential import SequentialComparison
from sluice.evaluation.summary import cases_digest
from sluice.jobs.dvc_pipeline import LOCK, PREPARED, Evaluator, data_edited, progress_of, pull, reproduce
from sluice.llm.model_files import Models, load_models
from sluice.llm.settings import load_providers, missing_keys
from sluice.prompts import load_prompts
from sluice.prompts.prompt_diff import diff_prompts
from sluice.release import starter
from sluice.release.decision import warnings
from sluice.release.gates import Measurement
from sluice.release.staging import config_digests, index_pin
from sluice.retrieval.stores import Stores
from sluice.serving.release_parts import draft_adapter, draft_bundle

WORKING_TREE = "working tree"
KEPT = 3  # checkouts of the last comparisons; each is as large as the index and the store
# What an answer can depend on, code as far as a stage can reach it. A change elsewhere, of a page of docs/ say, has
# nothing to compare.
_INPUTS = ("prompts", "config", "data.dvc", "pipelines", *CODE)


@dataclass(frozen=True)
class ChangeComparison:
    """The result. Where nothing is to compare, `title` says why. `replayed`: why no model was called. `edited`: the
    line of each prompt file at which it differs."""

    title: str
    replayed: str
    comparison: Comparison | None
    reports: Path | None
    edited: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _ComparedCheckout:
    """One side. `commit` ends with `-dirty` for an edited working tree."""

    name: str
    ref: str
    commit: str
    workspace: Workspace

    @property
    def title(self) -> str:
        return f"{self.ref} ({self.commit[:12]}{'-dirty' * self.commit.endswith('-dirty')})"


def review(
    workspace: Workspace, base: str, head: str = "", *, replay: bool = False, out: Path | None = None
) -> ChangeComparison:
    """Compare a change with the commit at which it left its base."""
    root, out = workspace.root, out or workspace.build / "comparison"
    with workspace.exclusive():
        tip = git.resolve(root, head or "HEAD")
        start = git.merge_base(root, git.resolve(root, base), tip)
        named = head or WORKING_TREE
        changed = git.changed(root, start, tip if head else "", paths=_INPUTS, but_for=LOCK)
        here = checkout(workspace, tip) if head and changed else workspace
        if not affecting(here.root, changed, *STAGES.values()) and (head or not data_edited(workspace)):
            return ChangeComparison(f"{named} asks and answers as {base} ({start[:12]}) does", "", None, None)
        edited = not head and bool(git.changed(root, tip, but_for=LOCK))
        mine = _ComparedCheckout("head", named, f"{tip}-dirty" if edited else tip, here)
        theirs = _ComparedCheckout("base", base, start, checkout(workspace, start))
        if ("data.dvc" in changed or (not head and data_edited(workspace))) and _no_document_of(theirs.workspace, here):
            why = f"{base} ({start[:12]}) has none of these documents; compare with a commit that has them"
            return ChangeComparison(why, "", None, None)
        asked_nobody = "as was asked for" if replay else _without_keys(theirs.workspace, here)
        replay = bool(asked_nobody)
        starter.place_responses(workspace)
        shutil.rmtree(here.state / FOLDER / MISSING, ignore_errors=True)
        with _named(mine):
            _prepare(here)
            rows = asking_order(rows_of(here))
        prepare_base = cache(lambda: _prepare(theirs.workspace))
        bundle = draft_bundle(here, adapter=draft_adapter(here))
        responses = ResponseCache(here.state / FOLDER)
        scoring = [name for name in changed if name.startswith(CODE)]
        options = ["--replay"] if replay else []
        with (
            open_metrics(bundle, responses, replay=replay) as metrics,
            closing(Evaluator(here, *options)) as head_evaluator,
            closing(Evaluator(theirs.workspace, *options)) as base_evaluator,
        ):

            def ask(asked: Sequence[Row]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
                with _named(mine):
                    new = _answers(here, asked, head_evaluator)
                with _named(theirs):
                    old = _base_answers(theirs.workspace, asked, prepare_base, base_evaluator, replay=replay)
                if affecting(here.root, scoring, STAGES["evaluate"], but_for=SERVE):
                    digest = scores_digest(bundle, model_digest(bundle))
                    old = rescore(old, asked, RecordedScores(responses, metrics, digest))
                return old, new

            test = SequentialComparison(metrics, load_policy(here.config / "gates.yaml"), len(rows))
            comparison, old, new = test.ask_until_decided(rows, ask, at_once=replay)
        figures = {one.name: Measurement(one.judgement.head, one.judgement.cases) for one in comparison.metrics}
        comparison = replace(comparison, warnings=tuple(warnings(here.config / "gates.yaml", figures)))
        prompts = diff_prompts(load_prompts(theirs.workspace.prompts), load_prompts(here.prompts))
        sides = describe(theirs, old), describe(mine, new)
        write_reports(out, comparison, *sides, [change.as_dict() for change in prompts])
        title = f"{mine.title} against {theirs.title}"
        return ChangeComparison(title, asked_nobody, comparison, out, _edited_prompts(root, start, tip if head else ""))


def _edited_prompts(root: Path, base: str, head: str) -> dict[str, int]:
    """Return the first line that differs of each prompt file."""
    words = ("diff", "--unified=0", "--no-prefix", base, *([head] if head else []), "--", "prompts")
    found = re.findall(r"^\+\+\+ (.+)\n@@ -\S+ \+(\d+)", git.run(root, *words), re.MULTILINE)
    return {path: int(line) for path, line in found if line != "0"}


def _no_document_of(base: Workspace, head: Workspace) -> bool:
    """Return whether the base has no data, or no document of the head, by name or content: no question fits both."""
    if not (base.root / "data.dvc").is_file():
        return (head.root / "data.dvc").is_file()
    for side in (base, head):
        pull(side)
    theirs, ours = (
        {name for path in (side.data / "corpus").rglob("*.md") for name in (path.name, digest_of_file(path))}
        for side in (base, head)
    )
    return bool(theirs and ours) and theirs.isdisjoint(ours)


def _without_keys(*sides: Workspace) -> str:
    """Return which keys of providers are missing, in words."""
    asked = [load_providers(side.config / "providers.yaml", roles=Models.roles()) for side in sides]
    names = {name for providers in asked for name in missing_keys((*providers.chat, *providers.judge))}
    return f"{', '.join(sorted(names))} not set" if names else ""


def describe(side: _ComparedCheckout, records: Sequence[Mapping[str, Any]]) -> ComparedVersion:
    """Describe what a side was made of."""
    here = side.workspace
    costs = [record.get("cost") for record in records]
    models = {role: spec.sha256 for role, spec in load_models(here.config / "models.yaml")}
    return ComparedVersion(
        name=side.name,
        ref=side.ref,
        commit=side.commit,
        prompts={name: prompt.digest for name, prompt in load_prompts(here.prompts).items()},
        data=str(read_json(here.build / "check" / "report.json")["digest"]),
        index=str(index_pin(here.build / "index")["digest"]),
        models={**models, "adapter": digest_of_file(adapter)} if (adapter := draft_adapter(here)) else models,
        config=config_digests(here.config),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
    )


def _prepare(side: Workspace) -> None:
    """Run a side's pipeline up to the evaluation."""
    pipeline_progress = progress_of(side)
    pipeline_progress.begin("data")
    pipeline_progress.end(cached=not pull(side))
    reproduce(side, pipeline_progress, until=PREPARED)


def _answers(side: Workspace, rows: Sequence[Row], evaluator: Evaluator) -> list[dict[str, Any]]:
    out = side.build / f"evaluation-{cases_digest(rows)[:12]}"
    write_rows(out / "asked.jsonl", rows)
    pipeline_progress = progress_of(side)
    pipeline_progress.begin("evaluate")
    evaluator.ask(out / "asked.jsonl", pipeline_progress)
    pipeline_progress.end()
    return read_jsonl(out / "cases.jsonl")


def _base_answers(
    side: Workspace, rows: Sequence[Row], prepare: Callable[[], None], evaluator: Evaluator, *, replay: bool
) -> list[dict[str, Any]]:
    """Return the base's answers, kept for the next comparison."""
    kept = side.state / f"answers-{cases_digest(rows)[:12]}.jsonl"
    if kept.exists() and not replay:
        return read_jsonl(kept)
    prepare()
    records = _answers(side, rows, evaluator)
    if not replay:
        write_jsonl(kept, records)
    return records


@contextmanager
def _named(side: _ComparedCheckout) -> Iterator[None]:
    """Print the side; errors of the block name it."""
    print(f"{side.name}: {side.title}", file=sys.stderr)
    try:
        yield
    except SluiceError as error:
        raise SluiceError(f"{side.name}, {side.title}: {error.message}", remedy=error.remedy) from error


def checkout(workspace: Workspace, commit: str) -> Workspace:
    """Return a clone of a commit that can run the pipeline beside the working tree; drop all but the last few.

    It borrows git's objects and shares DVC's cache and the recorded answers: commits reuse each other's results."""
    folder = workspace.state / "checkouts" / commit[:12]
    if not (folder / ".git").exists():
        draft = folder.with_name(f"{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        git.run(workspace.root, "clone", "--quiet", "--shared", "--no-checkout", str(workspace.root), str(draft))
        missing = "a shallow clone has no other commits: `git fetch --unshallow`"
        git.run(draft, "checkout", "--quiet", "--detach", commit, remedy=missing)
        for bring in hooks("checkout").values():  # what git has not
            bring(workspace.root, draft)
        _share_dvc_cache(workspace, draft)
        (workspace.state / FOLDER).mkdir(exist_ok=True)
        (draft / ".sluice").mkdir(exist_ok=True)
        (draft / ".sluice" / FOLDER).symlink_to(workspace.state / FOLDER, target_is_directory=True)
        draft.rename(folder)
    folder.touch()
    for old in sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        if (stores := old / "config" / "stores.yaml").exists():
            load_settings(stores, Stores).close_abandoned(old / ".sluice")
        shutil.rmtree(old)
    return Workspace(folder)


def _share_dvc_cache(workspace: Workspace, draft: Path) -> None:
    local = workspace.root / ".dvc" / "config.local"
    if local.is_file():  # it may hold the credentials of a remote
        shutil.copy2(local, draft / ".dvc" / "config.local")
    dvc = str(program("dvc"))
    asked = subprocess.run([dvc, "cache", "dir"], cwd=workspace.root, capture_output=True, text=True, check=True)
    cache = ["cache", "dir", "--local", "--quiet", asked.stdout.strip()]
    subprocess.run([dvc, *cache], cwd=draft, check=True, capture_output=True)
