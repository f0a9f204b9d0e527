"""report.html of a release: one file, readable offline, for whoever decides or asks later why it was decided.

`write_report(folder)` reads what lies in the release folder and writes report.html beside it. What is not there yet,
such as a rehearsal, is said in words. Texts of the model and of the data are escaped; the page loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.files import read_json, read_jsonl, write_atomic
from sluice.core.look import page_environment
from sluice.release import charts
from sluice.release.compare import Comparison, compare
from sluice.release.gates import Verdict, number
from sluice.release.manifest import Manifest, load
from sluice.release.staging import CHAMPION_CASES, CHAMPION_SUMMARY

FILE = "report.html"
_TEMPLATES = Path(__file__).parent / "templates"


def write_report(folder: Path, *, live: bool = False) -> Path:
    """Writes and returns folder/report.html. Only release.json must be there. `live`: whether it is the champion."""
    from markupsafe import Markup

    notes: list[str] = []
    evaluation = folder / "evaluation"
    manifest = load(folder)
    summary = _json(evaluation / "summary.json", notes) or {}
    champion = _json(evaluation / CHAMPION_SUMMARY, notes) or {}
    rehearsal = _json(folder / "rehearsal.json", notes)
    stages = _json(folder / "stages.json", notes) or []
    training = _json(folder / "training.json", notes) or {}
    comparison = compare(_rows(evaluation / "cases.jsonl", notes), _rows(evaluation / CHAMPION_CASES, notes))
    metrics = metric_rows(summary, champion, comparison)
    environment = page_environment(_TEMPLATES)
    environment.filters["number"] = _number
    page = environment.get_template("report.html.j2").render(
        manifest=manifest,
        verdict=headline(manifest, rehearsal, live=live),
        metrics=metrics,
        comparison=comparison,
        has_champion=bool(champion),
        gates=_gate_rows(manifest, rehearsal),
        rehearsal=rehearsal,
        steps=(rehearsal or {}).get("steps", []),
        stages=stages,
        longest=max([float(stage.get("seconds") or 0) for stage in stages] + [1e-9]),
        total=sum(float(stage.get("seconds") or 0) for stage in stages),
        training=training,
        parts=_parts(manifest),
        pictures={name: Markup(svg) for name, svg in _pictures(metrics, rehearsal, training).items()},
        notes=notes,
    )
    write_atomic(folder / FILE, page)
    return folder / FILE


def headline(manifest: Manifest, rehearsal: Mapping[str, Any] | None, *, live: bool) -> dict[str, str]:
    """What became of the release: {state: passed | failed | open, title, reason}."""
    failed = [verdict.reason for verdict in manifest.gates if not verdict.passed]
    if failed:
        return {"state": "failed", "title": "Refused by the evaluation gates", "reason": "\n".join(failed)}
    if not manifest.gates and live:
        reason = "Nothing was live before it, so there was nothing to be judged against."
        return {"state": "open", "title": "Champion without a verdict", "reason": reason}
    if not manifest.gates:
        return {"state": "failed", "title": "Refused", "reason": "no gate was decided, so nothing passes"}
    if rehearsal is None:
        title = "Live, without a rehearsal" if live else "Passed its gates, not rehearsed yet"
        return {"state": "open", "title": title, "reason": "There is no rehearsal.json in the release folder."}
    if rehearsal.get("verdict") != "passed":
        reason = str(rehearsal.get("reason") or "the rehearsal gave no reason")
        return {"state": "failed", "title": "Stopped in the canary", "reason": reason}
    title = "Champion: every gate and every canary step held" if live else "Every gate and every canary step held"
    return {"state": "passed", "title": title, "reason": str(rehearsal.get("reason") or "")}


def metric_rows(
    summary: Mapping[str, Any], champion: Mapping[str, Any], comparison: Comparison
) -> list[dict[str, Any]]:
    """One row a metric: name, unit, value, reference, change, better (None: no difference), fixed, broken, samples."""
    rows = []
    for name, metric in (summary.get("metrics") or {}).items():
        value = metric.get("value")
        reference = ((champion.get("metrics") or {}).get(name) or {}).get("value")
        change = value - reference if value is not None and reference is not None else None
        higher = metric.get("direction") == "higher"
        # A flip is crossing one half, which means something for shares only.
        delta = comparison.metrics.get(name) if metric.get("unit") == "share" else None
        rows.append(
            {
                "name": name,
                "unit": metric.get("unit") or "value",
                "value": value,
                "reference": reference,
                "change": change,
                "better": None if not change else (change > 0) == higher,
                "samples": metric.get("samples", 0),
                "errors": metric.get("errors", 0),
                "fixed": len(delta.fixed) if delta else 0,
                "broken": len(delta.broken) if delta else 0,
            }
        )
    return rows


def _gate_rows(manifest: Manifest, rehearsal: Mapping[str, Any] | None) -> list[tuple[str, Verdict]]:
    rows = [("evaluation", verdict) for verdict in manifest.gates]
    for step in (rehearsal or {}).get("steps", []):
        rows += [
            (f"canary at {step.get('weight')} %", Verdict.model_validate(gate)) for gate in step.get("gates") or []
        ]
    return rows


def _pictures(
    metrics: Sequence[Mapping[str, Any]], rehearsal: Mapping[str, Any] | None, training: Mapping[str, Any]
) -> dict[str, str]:
    """The charts there is something to draw for."""
    pictures = {}
    bars = [charts.Bar(m["name"], m["unit"], m["value"], m["reference"]) for m in metrics if m["value"] is not None]
    if bars:
        pictures["metrics"] = charts.metrics(bars)
    if training.get("loss"):
        pictures["loss"] = charts.loss(training["loss"])
    analyses = [step for step in (rehearsal or {}).get("steps", []) if step.get("kind") == "analysis"]
    measured = [(f"{step.get('weight')} %", _figures(step, "canary"), _figures(step, "stable")) for step in analyses]
    # A comparison of answers has no times.
    timed = [row for row in measured if any("total_p50_ms" in side for side in row[1:])]
    if timed:
        pictures["latency"] = charts.latency(timed)
    if rehearsal and rehearsal.get("weights"):
        marks = [
            (
                float(step["started_s"]),
                float(step["seconds"]),
                str(step.get("verdict")),
                step.get("verdict") == "passed",
            )
            for step in analyses
        ]
        pictures["weights"] = charts.weights(rehearsal["weights"], marks)
    return pictures


def _figures(step: Mapping[str, Any], side: str) -> dict[str, float]:
    """What an analysis measured on one side, canary or stable."""
    measured = (step.get("metrics") or {}).get(side) or {}
    return {name: float(value) for name, value in measured.items() if value is not None}


def _parts(manifest: Manifest) -> list[tuple[str, str]]:
    """What the release is made of, as (what, which)."""
    chunker = ", ".join(f"{key} {value}" for key, value in manifest.index.chunker.items())
    adapter = manifest.adapter.sha256 if manifest.adapter else "none: the base model answers"
    guard = manifest.guardrails.model if manifest.guardrails else None
    return [
        ("commit", manifest.commit),
        ("parent release", manifest.parent or "none: nothing was live"),
        *((f"prompt {name}", digest) for name, digest in manifest.prompts.items()),
        ("data", manifest.data.digest),
        ("index", f"{manifest.index.digest} ({chunker})"),
        *(
            (f"{role} model", f"{model.source}, {model.licence}, {model.sha256}")
            for role, model in manifest.models.items()
        ),
        ("adapter", adapter),
        ("guard model", guard or "none: no check needs one"),
        *((f"config/{name}", digest) for name, digest in manifest.config.items()),
        ("evaluation cases", manifest.evaluation.cases_digest),
        ("image", manifest.image or "none: the code of a checkout serves it"),
    ]


def _json(path: Path, notes: list[str]) -> Any:
    """The parsed file; None when it is not there; None and a note when it cannot be read."""
    try:
        return read_json(path) if path.exists() else None
    except SluiceError as error:
        notes.append(error.message)
        return None


def _rows(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    try:
        return read_jsonl(path) if path.exists() else []
    except SluiceError as error:
        notes.append(error.message)
        return []


def _number(value: float | None, sign: str = "") -> str:
    if value is None:
        return "–"
    return f"{value:+.3g}" if sign else number(value)
