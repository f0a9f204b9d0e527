"""Makes a release: copies the files for serving into a draft, pins them in release.json, and renames the folder.

`.sluice/releases/<id>/` is complete or absent. Beside the pinned files it has the judgement, the evaluation, its
reference, and the training record."""

from __future__ import annotations

import errno
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json, write_atomic, write_json
from sluice.core.closures import Code
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.extras import hooks
from sluice.core.project import FILE as PROJECT
from sluice.core.project import load_project
from sluice.core.settings import load_settings, read_yaml
from sluice.core.workspace import Workspace
from sluice.evaluation.summary import not_a_summary
from sluice.guardrails.settings import GuardrailSettings
from sluice.llm.model_files import load_models
from sluice.llm.settings import PROMPT_ROLES
from sluice.prompts import load_prompts
from sluice.release.manifest import (
    ADAPTER,
    CODE,
    FILE,
    GUARD,
    JUDGING,
    Images,
    Manifest,
    identified,
    load,
    load_judgement,
    pinned_files,
    replace_record,
    verify,
)
from sluice.release.verdict import JUDGEMENT, Judgement, Verdict, judged

# gates.yaml is never read by the service; it is pinned in judging/. stores.yaml and telemetry.yaml say where a machine
# keeps its vectors and sends its traces, data.yaml what may be published: not what is served.
# Of project.yaml only the application is: the other keys say what it is called and where it runs.
# Any other file of config/ is pinned: a forgotten pin would let two different services carry one release id.
NOT_PINNED_CONFIG = frozenset({"data.yaml", "gates.yaml", PROJECT, "sagemaker.yaml", "stores.yaml", "telemetry.yaml"})
GUARDRAILS = "guardrails.yaml"
CHAMPION_SUMMARY = "champion.json"
CHAMPION_CASES = "champion_cases.jsonl"
_EVALUATION_FILES = ("summary.json", "cases.jsonl", "metrics.json")


def preview(workspace: Workspace, **content: Any) -> Manifest:
    """Return the manifest of the release that `create` would make of the same content."""
    with _drafted(workspace, **content) as (_, manifest):
        return manifest


def create(
    workspace: Workspace,
    *,
    evaluation: Path,
    verdicts: Sequence[Verdict],
    parent: str | None,
    commit: str,
    reference: Path | None = None,
    **content: Any,
) -> tuple[Manifest, Path]:
    """Make `.sluice/releases/<id>/` from the checkout, also for a refused candidate.

    A release that is there gets the new judgement, unless only the creation time differs; a damaged one is replaced.
    The evaluation was judged against `reference`, by default that of `parent`."""
    summary = read_json(evaluation / "summary.json")
    if parent:
        reference = reference or workspace.releases / parent / "evaluation"
    with _drafted(workspace, **content) as (draft, manifest):
        _copy_record(draft, evaluation, content["adapter"], reference)
        judgement = judged(
            {
                "release": manifest.id,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "commit": commit,
                "machine": f"{platform.platform(terse=True)} {platform.machine()}, {os.cpu_count()} cores",
                "parent": parent,
                "evaluation": _evaluation_pin(summary, evaluation / "summary.json"),
                "gates": [verdict.model_dump() for verdict in verdicts],
            }
        )
        write_atomic(draft / JUDGEMENT, judgement.to_bytes())
        return manifest, _publish(draft, workspace.releases / manifest.id, manifest, judgement)


@contextmanager
def _drafted(
    workspace: Workspace,
    *,
    data_digest: str,
    adapter: Path | None,
    images: Images = Images(),
    code: Code | None = None,
) -> Iterator[tuple[Path, Manifest]]:
    """Yield a draft with all that is pinned, and its manifest; it is gone afterwards, unless it was renamed."""
    prompts = load_prompts(workspace.prompts, roles=PROMPT_ROLES)
    models = load_models(workspace.config / "models.yaml")
    with _draft(workspace.releases) as draft:
        _copy_pinned(workspace, draft, adapter)
        if code:
            write_json(draft / CODE, {"files": code.files})
        manifest = identified(
            {
                "prompts": {name: prompt.digest for name, prompt in prompts.items()},
                "data": {"digest": data_digest},
                "index": index_pin(draft / "index"),
                "models": {
                    role: spec.model_dump(include={"source", "sha256", "convert", "licence"}) for role, spec in models
                },
                "adapter": {"sha256": digest_of_file(draft / ADAPTER)} if adapter else None,
                "guardrails": guardrails_pin(draft),
                "code": {"serve": code.digest} if code else None,
                "tools": next((pins(draft / "config") for pins in hooks("tool_pins").values()), None),
                "config": config_digests(draft / "config"),
                "files": {name: digest_of_file(draft / name) for name in sorted(pinned_files(draft))},
                **asdict(images),
            }
        )
        write_atomic(draft / FILE, manifest.to_bytes())
        yield draft, manifest


@contextmanager
def _draft(releases: Path) -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards; a full disk becomes an error for people."""
    from psutil import pid_exists

    for folder in (*releases.glob(".draft-*"), *releases.glob(".damaged-*")):  # of processes that were killed
        if (pid := folder.name.rpartition("-")[2]).isdigit() and not pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    draft = releases / f".draft-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SluiceError(
                f"{releases}: no space left on the disk", remedy="free some space and run it again"
            ) from error
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _copy_pinned(workspace: Workspace, draft: Path, adapter: Path | None) -> None:
    index = workspace.build / "index"
    if not (index / "index.json").is_file():
        raise SluiceError(f"{index / 'index.json'}: no such file", remedy="build the index first")
    wanted: dict[str, Iterable[Path]] = {
        "prompts": workspace.prompts.glob("*.prompt.yml"),
        "config": (path for path in workspace.config.glob("*.yaml") if path.name not in NOT_PINNED_CONFIG),
        "index": (index / name for name in ("index.json", *read_json(index / "index.json")["files"])),
        JUDGING: (workspace.config / "gates.yaml", workspace.data / "eval.jsonl"),
    }
    guardrails = workspace.config / GUARDRAILS
    if guardrails.is_file() and load_settings(guardrails, GuardrailSettings).needs_model:
        wanted["guard"] = (workspace.build / GUARD,)
    for name, sources in wanted.items():
        (draft / name).mkdir()
        for source in sources:
            _copy(source, draft / name / source.name)
    if (project := workspace.config / PROJECT).is_file():
        write_atomic(draft / "config" / project.name, f"application: {load_project(workspace.config).application}\n")
    if adapter:
        _copy(adapter, draft / ADAPTER)
        for write_form in hooks("adapter_forms").values():
            write_form(draft, workspace)


def _copy_record(draft: Path, evaluation: Path, adapter: Path | None, reference: Path | None) -> None:
    (draft / "evaluation").mkdir()
    copies = {evaluation / name: draft / "evaluation" / name for name in _EVALUATION_FILES}
    if reference:
        copies[reference / "summary.json"] = draft / "evaluation" / CHAMPION_SUMMARY
        copies[reference / "cases.jsonl"] = draft / "evaluation" / CHAMPION_CASES
    if adapter:
        copies[adapter.with_name("training.json")] = draft / "training.json"
    for source, target in copies.items():
        if source.is_file():
            _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        raise SluiceError(f"{source}: no such file", remedy="run the stage that makes it") from None


def guardrails_pin(draft: Path) -> dict[str, Any] | None:
    settings, model = draft / "config" / GUARDRAILS, draft / GUARD
    if not settings.is_file():
        return None
    return {"config": digest_of(read_yaml(settings)[0]), "model": digest_of_file(model) if model.is_file() else None}


def config_digests(folder: Path) -> dict[str, str]:
    """Return the digest of each YAML file's content: comments and layout don't count."""
    return {path.name: digest_of(read_yaml(path)[0]) for path in sorted(folder.glob("*.yaml"))}


def index_pin(index: Path) -> dict[str, Any]:
    """Return the pins in index.json, after checking its list of files against the copies."""
    record = read_json(index / "index.json")
    faults = [
        f"{name}: does not match the sha256 in index.json"
        for name, expected in sorted(record["files"].items())
        if digest_of_file(index / name) != expected
    ]
    if faults:
        raise ValidationErrors("build/index", faults, remedy="build the index again")
    return {key: record[key] for key in ("digest", "embedder", "chunker")}


def _evaluation_pin(summary: Mapping[str, Any], place: Path) -> dict[str, Any]:
    try:
        metrics = {name: metric["value"] for name, metric in summary["metrics"].items()}
        return {"cases_digest": summary["cases_digest"], "metrics": metrics}
    except (KeyError, TypeError, AttributeError) as error:
        raise not_a_summary(place, error) from None


def _publish(draft: Path, target: Path, manifest: Manifest, judgement: Judgement) -> Path:
    """Rename the draft. If that release exists and is whole, take only what is new of the judgement."""
    if not target.exists():
        draft.rename(target)
        return target
    try:
        verify(target, load(target))
    except SluiceError:
        damaged = target.with_name(f".damaged-{target.name}-{os.getpid()}")
        target.rename(damaged)
        draft.rename(target)
        shutil.rmtree(damaged)
        return target
    try:
        there: Judgement | None = load_judgement(target)
    except SluiceError:
        there = None
    same_time = {"created": judgement.created, "digest": judgement.digest}
    if there is None or there.model_copy(update=same_time) != judgement:
        replace_record(target, draft, manifest)
    return target
