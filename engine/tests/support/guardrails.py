"""Support for tests of guardrails: findings of a check, guard models, and the stored texts."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from sluice.core.extras import extras
from sluice.core.workspace import Workspace
from sluice.guardrails.check import CHECKS, GUARD_FILE, CheckContext, CheckResources, Embed, Finding, PartMargin

BY_EMBEDDING = object()
_SENTENCE = re.compile(r"[^.!?]+[.!?]*")
# Kinds of data/guard/ that n-grams decide alone.
LANGUAGES = ("arabic", "chinese", "hindi", "japanese", "korean", "polish", "russian", "ukrainian")


class FakeGuardModel:
    """In doubt about all sentences: an embedding's first dimension is the probability, unless it `says` another."""

    threshold = 0.5
    embedder = "e" * 64

    def __init__(self, says: Any = BY_EMBEDDING) -> None:
        self._says = says

    def judged(self, texts: Sequence[str]) -> list[PartMargin]:
        found = [part.strip() for text in texts for part in (text, *_SENTENCE.findall(text))]
        return [PartMargin(0.0, part) for part in dict.fromkeys(found)]

    def in_doubt(self, judged: Sequence[PartMargin]) -> Sequence[PartMargin]:
        return judged

    def probability(self, judged: Sequence[PartMargin], embed: Embed) -> Any:
        if self._says is BY_EMBEDDING:
            return float(embed([one.part for one in judged])[:, 0].max())
        return self._says() if callable(self._says) else self._says


def place_guard_model(workspace: Workspace, embedder: str) -> None:
    """Place a guard model that takes nothing for an attack, where the project has kept the extra."""
    if "guard" in extras():
        from support.guard_models import save_guard_model, trusting_model

        save_guard_model(trusting_model(embedder), workspace.build / "guard" / GUARD_FILE)


def finder(check: str, kit: CheckResources | None = None) -> Callable[..., list[Finding]]:
    """Return `find(text, options)` of a check, as a stage runs it."""
    chosen = kit or CheckResources()

    def find(text: str, options: Any = None) -> list[Finding]:
        entry = CHECKS[check]
        return entry(options or entry.options_model(), chosen).find(CheckContext(text, chosen))

    return find


def stored_rows(name: str) -> list[dict[str, str]]:
    """Return rows of data/guard/ from the store in the repository: nothing has to be pulled."""
    root = Path(__file__).parents[3]
    store = root / "dvc-store" / "files" / "md5"
    folder = yaml.safe_load((root / "data.dvc").read_text())["outs"][0]["md5"]
    for entry in json.loads((store / folder[:2] / folder[2:]).read_text()):
        if entry["relpath"] == f"guard/{name}":
            lines = (store / entry["md5"][:2] / entry["md5"][2:]).read_text().splitlines()
            return [json.loads(line) for line in lines]
    raise LookupError(f"data.dvc has no guard/{name}")
