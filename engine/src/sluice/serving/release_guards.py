"""Opens the guards of a bundle with the resources of their checks: guard model, embedder, system instructions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.guardrails.context import CheckResources, GuardModel
from sluice.guardrails.guards import Guards
from sluice.retrieval.index_files import TextEncoder
from sluice.serving.release_parts import ReleaseBundle


def open_guards(bundle: ReleaseBundle, embedder: TextEncoder) -> Guards:
    """The guards of a release."""
    model = _model(bundle) if bundle.guardrails.needs_model else None
    messages = bundle.prompts["answer"].messages if "answer" in bundle.prompts else ()
    system = [message.content for message in messages if message.role == "system"]
    return Guards(bundle.guardrails, CheckResources(model, embedder.embed, tuple(system)))


def _model(bundle: ReleaseBundle) -> GuardModel:
    load: Callable[[Path], GuardModel] | None = next(iter(hooks("guard_model").values()), None)
    if load is None:
        raise SluiceError(
            "config/guardrails.yaml: a check needs the guard model, and this project has left the extra `guard` out",
            remedy="take the check out of config/guardrails.yaml, or bring engine/src/sluice/extras/guard/ back "
            "with git",
        )
    if bundle.guard is None:
        raise SluiceError(
            f"release {bundle.release}: config/guardrails.yaml needs the guard model, and the release has none",
            remedy="make the release again: `make release`",
        )
    model = load(bundle.guard)
    served = read_json(bundle.index / "index.json")["embedder"]["sha256"]
    if model.embedder != served:
        raise SluiceError(
            f"{bundle.guard}: trained with the embedder {model.embedder[:16]}…, the release has {served[:16]}…",
            remedy="run the guard stage again: `sluice guard train`",
        )
    return model
