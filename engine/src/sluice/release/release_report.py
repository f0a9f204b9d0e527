"""report.html of a release: one offline page with the reasons for the decision.

It is the page of a comparison, made from the records that decided, with gates, canary and training around it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json, read_jsonl, write_atomic
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.core.html_theme import page_environment
from sluice.core.text import code
from sluice.evaluation.comparison_result import changes_of
from sluice.evaluation.paired_cases import gather, pair
from sluice.evaluation.reports.comparison_page import page
from sluice.evaluation.reports.phrasing import ComparedVersion
from sluice.release import templates
from sluice.release.decision import compare_results, figures, warnings
from sluice.release.gates import number
from sluice.release.manifest import JUDGING_GATES, Manifest, load, load_judgement
from sluice.release.staging import CHAMPION_CASES, CHAMPION_SUMMARY
from sluice.release.verdict import Judgement, Verdict

FILE = "report.html"
_TEMPLATES = Path(templates.__file__).parent


def write_report(folder: Path, *, live: bool = False) -> Path:
    """Write report.html into a release's folder. Only release.json and judgement.json must be there."""
    evaluation = folder / "evaluation"
    manifest, judgement = load(folder), load_judgement(folder)
    summary = _read(evaluation / "summary.json") or {}
    champion = _read(evaluation / CHAMPION_SUMMARY) or {}
    rehearsal = _read(folder / "rehearsal.json") or {}
    stages = _read(folder / "stages.json") or []
    training = _read(folder / "training.json") or {}
    comparison, notes = None, []
    if summary:
        try:
            notes = warnings_of(folder)
            comparison = (
                compare_results(folder / JUDGING_GATES, evaluation, evaluation / CHAMPION_CASES) if champion else None
            )
        except SluiceError as error:
            notes.append(error.message)
    cases = {} if comparison else gather(_read(evaluation / "cases.jsonl") or [], "head")[0]
    theirs = champion.get("metrics") or {}
    seconds = [float(stage.get("seconds") or 0) for stage in stages]
    shown = page(
        comparison,
        ComparedVersion("champion", judgement.parent or ""),
        ComparedVersion("this release", manifest.id),
        cases=changes_of(pair({}, cases)[0], {}, set()),
        template=_TEMPLATES / "report.html.j2",
        number=lambda value: "–" if value is None else number(value),
        manifest=manifest,
        judgement=judgement,
        headline=headline(judgement, rehearsal or None, live=live),
        has_champion=bool(champion),
        measured=[(name, one, theirs.get(name) or {}) for name, one in (summary.get("metrics") or {}).items()],
        gates=_gate_rows(judgement, rehearsal, compared=comparison is not None),
        rehearsal=rehearsal,
        steps=rehearsal.get("steps", []),
        stages=stages,
        longest=max([*seconds, 1e-9]),
        total=sum(seconds),
        made_of=_made_of(manifest, judgement),
        loss=training.get("loss") or [],
        **_canary(rehearsal),
        notes=notes,
    )
    write_atomic(folder / FILE, shown)
    for follow in hooks("release_written").values():
        follow(folder)
    return folder / FILE


def warnings_of(folder: Path) -> list[str]:
    """Return what a release's figures miss of the gates with `severity: warn`."""
    return warnings(folder / JUDGING_GATES, figures(folder / "evaluation"))


def headline(judgement: Judgement, rehearsal: Mapping[str, Any] | None, *, live: bool) -> dict[str, str]:
    """Return what became of the release: {state: passed | failed | open, title, reason}."""
    failed = [verdict for verdict in judgement.gates if not verdict.passed]
    if failed:
        by = {"the comparison with the champion" if _compares(one) else "the evaluation gates" for one in failed}
        reason = "\n".join(verdict.reason for verdict in failed)
        return {"state": "failed", "title": f"Refused by {' and '.join(sorted(by, reverse=True))}", "reason": reason}
    if not judgement.gates and live:
        reason = "Nothing was live before it, so there was nothing to be judged against."
        return {"state": "open", "title": "Champion without a verdict", "reason": reason}
    if not judgement.gates:
        return {"state": "failed", "title": "Refused", "reason": "no gate was decided, so nothing passes"}
    if rehearsal is None:
        title = "Live, without a rehearsal" if live else "Passed its gates, not rehearsed yet"
        return {"state": "open", "title": title, "reason": "There is no rehearsal.json in the release folder."}
    if rehearsal.get("verdict") != "passed":
        reason = str(rehearsal.get("reason") or "the rehearsal gave no reason")
        return {"state": "failed", "title": "Stopped in the canary", "reason": reason}
    title = "Champion: every gate and every canary step held" if live else "Every gate and every canary step held"
    return {"state": "passed", "title": title, "reason": str(rehearsal.get("reason") or "")}


def _compares(verdict: Verdict) -> bool:
    return verdict.gate.partition("_")[0] == "comparison"


def _gate_rows(judgement: Judgement, rehearsal: Mapping[str, Any], *, compared: bool) -> list[tuple[str, Verdict]]:
    """Return stages and verdicts, without metrics that passed if the comparison's table shows them."""
    rows = [("evaluation", one) for one in judgement.gates if not (compared and one.passed and _compares(one))]
    for step in rehearsal.get("steps", []):
        rows += [(f"canary at {step.get('weight')} %", Verdict.model_validate(one)) for one in step.get("gates") or []]
    return rows


def _canary(rehearsal: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of the canary's charts: its share over time, a band for each analysis, times of both sides."""
    weights = rehearsal.get("weights") or []
    analyses = [step for step in rehearsal.get("steps", []) if step.get("kind") == "analysis"]
    bands = [(one["started_s"], one["seconds"], one.get("verdict"), one.get("verdict") == "passed") for one in analyses]
    end = max([start + seconds for start, seconds, *_ in bands] + [time for time, _ in weights[-1:]], default=0.0)
    stairs = [point for (at, share), (to, _) in pairwise([*weights, (end, 0)]) for point in ((at, share), (to, share))]
    times = []
    for name, title in (("total_p50_ms", "median"), ("total_p95_ms", "p95")):
        rows = []
        for one in analyses:
            canary, stable = ((one.get("metrics") or {}).get(side) or {} for side in ("canary", "stable"))
            if name in canary or name in stable:  # a comparison of answers has no times
                rows.append((f"{one.get('weight')} %", canary.get(name), stable.get(name)))
        if rows:
            times.append((title, rows))
    return {"weights": stairs, "bands": bands, "times": times}


def _made_of(manifest: Manifest, judgement: Judgement) -> list[tuple[str, str]]:
    absent = {
        "adapter": "none: the base model answers",
        "guard model": "none: no check needs one",
        "image": "none: the code of a checkout serves it",
    }
    parts = {"commit": judgement.commit, "parent release": judgement.parent or "none: nothing was live"}
    parts |= {**absent, **_parts(manifest, judgement)}
    parts["index"] += f" ({', '.join(f'{key} {value}' for key, value in manifest.index.chunker.items())})"
    for role, model in manifest.models.items():
        parts[f"model {role}"] = f"{model.source}, {model.licence}, {model.sha256}"
    return list(parts.items())


def _parts(manifest: Manifest, judgement: Judgement) -> dict[str, str]:
    return {**manifest.parts(), "asked cases": judgement.evaluation.cases_digest}


def _read(path: Path) -> Any:
    return (read_jsonl if path.suffix == ".jsonl" else read_json)(path) if path.exists() else None


_DIGITS = 12
_TEXTS = ("prompts", "config")
# GitHub's limit for the notes of a release is 125,000 characters.
_LONGEST_TEXT = 4_000
_LONGEST = 100_000


def markdown(before: tuple[Manifest, Path] | None, after: tuple[Manifest, Path]) -> str:
    """Return what differs between two releases as Markdown, with texts of prompts and settings as code."""
    judgement, earlier = load_judgement(after[1]), load_judgement(before[1]) if before else None
    old = _parts(before[0], earlier) if before and earlier else {}
    new = _parts(after[0], judgement)
    parts = [(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)]
    theirs, ours = earlier.evaluation.metrics if earlier else {}, judgement.evaluation.metrics
    metrics = {name: (theirs.get(name), ours.get(name)) for name in {**theirs, **ours}}
    pages = page_environment(_TEMPLATES, escape=False)
    pages.filters["figure"] = lambda value: "–" if value is None else number(value)
    pages.filters["digest"] = lambda value: "–" if value is None else f"`{value[:_DIGITS]}`"
    pages.filters["code"] = code  # names of cases are in it, which anybody may have written
    page = pages.get_template("notes.md.j2")
    found = {"parts": parts, "metrics": metrics, "warnings": warnings_of(after[1])}
    whole = page.render(before=before and before[0], after=judgement, **found) + "\n"
    for name, text in _texts(before[1], after[1]) if before else ():
        block = _block(name, text)
        if len(whole) + len(block) > _LONGEST:
            return f"{whole}\nFurther texts do not fit here: `sluice release diff` shows them.\n"
        whole += block
    return whole


def _texts(before: Path, after: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    names = {
        path.relative_to(folder).as_posix()
        for folder in (before, after)
        for kind in _TEXTS
        for path in (folder / kind).glob("*.y*ml")
    }
    for name in sorted(names, reverse=True):  # prompts first
        old, new = _lines(before / name), _lines(after / name)
        if old != new:
            yield name, tuple(difflib.unified_diff(old, new, before.name, after.name, lineterm="", n=2))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _block(name: str, text: Sequence[str]) -> str:
    """Put a diff into a fence that is longer than any inside it."""
    shown = "\n".join(text)
    if len(shown) > _LONGEST_TEXT:
        shown = shown[: shown.rfind("\n", 0, _LONGEST_TEXT)] + "\n…"
    ticks = max((len(run) for run in re.findall(r"`{3,}", shown)), default=2) + 1
    return f"\n### {name}\n\n{'`' * ticks}diff\n{shown}\n{'`' * ticks}\n"
