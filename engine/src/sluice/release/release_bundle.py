"""Loads a release folder for serving: the only way from `.sluice/releases/<id>/` into the application."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TypeVar

from sluice.core.atomic_files import read_json
from sluice.core.digests import digest_of_file
from sluice.core.project import released_application
from sluice.core.removed import without_removed
from sluice.core.settings import Settings, read_yaml, validated
from sluice.core.workspace import Workspace
from sluice.guardrails.check import CHECKS
from sluice.guardrails.settings import GuardrailSettings
from sluice.llm.model_files import Models, ensure, load_models
from sluice.llm.settings import load_providers
from sluice.prompts import load_prompts
from sluice.release.manifest import ADAPTER, CODE, GUARD, load, verify
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.settings import ServiceSettings

S = TypeVar("S", bound=Settings)


def open_bundle(folder: Path, workspace: Workspace) -> ReleaseBundle:
    """Open a release for serving, after verifying every file."""
    manifest = load(folder)
    verify(folder, manifest)
    models = load_models(folder / "config" / "models.yaml")
    return ReleaseBundle(
        release=manifest.id,
        prompts=load_prompts(folder / "prompts"),
        index=folder / "index",
        adapter=folder / ADAPTER if manifest.adapter else None,
        model=ensure(models.chat, workspace.cache),
        embedder=ensure(models.embed, workspace.cache),
        service=_released(folder / "config" / "service.yaml", ServiceSettings),
        guardrails=_released(folder / "config" / "guardrails.yaml", GuardrailSettings),
        providers=load_providers(folder / "config" / "providers.yaml", roles=Models.roles()),
        manifest=manifest.document(),
        guard=folder / GUARD if GUARD in manifest.files else None,
        application=released_application(folder / "config"),
        config=folder / "config",
        other_code=_other_code(read_json(folder / CODE)["files"]) if manifest.code else (),
    )


def _released(path: Path, model: type[S]) -> S:
    """Read a config file of a release without what the engine no longer has: it must serve yesterday's releases."""
    document, lines = read_yaml(path)
    kept = without_removed(path.name, document or {}, CHECKS)
    if kept != document:
        print(f"{path}: served without settings or checks that were removed from Sluice", file=sys.stderr)
    return validated(path, kept, lines, model)


def _other_code(recorded: Mapping[str, str]) -> tuple[str, ...]:
    """Return which files of a release's code differ here. A service has no locks beside it."""
    code = [name for name in sorted(recorded) if not name.startswith("requirements/")]
    return tuple(name for name in code if _digest(*name.split("/")) != recorded[name])


def _digest(package: str, *parts: str) -> str:
    try:
        path = Path(str(resources.files(package).joinpath(*parts)))
    except ModuleNotFoundError:
        return ""
    return digest_of_file(path) if path.is_file() else ""
