"""Gates of a project that pass what the template's refuse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from sluice.core.extras import EXTRAS
from sluice.core.settings import Settings, bounded_yaml

FILE = "config/gates.yaml"
_STRICT = {"never": 0, "when_worse": 1, "when_asked": 1, "always": 2}


class LoosenedGate(Settings):
    """`name`: a gate, a metric of `comparison`, or `comparison` itself."""

    name: str
    change: str

    def __str__(self) -> str:
        return f"{self.name}: {self.change}"


def loosened(ours: str, template: str, without: Iterable[str] = ()) -> list[LoosenedGate]:
    """Return the gates and metrics of a project's config/gates.yaml that let more pass than the template's."""
    off = [name for name in without if name in EXTRAS]
    stages = {stage for name in off for stage in EXTRAS[name].gates}
    metrics = {metric for name in off for metric in EXTRAS[name].metrics}
    mine, theirs = _document(ours), _document(template)
    if not isinstance(mine.get("gates"), list):
        return [LoosenedGate(name=FILE, change="cannot be read")]
    there = {str(gate.get("name")): gate for gate in mine["gates"] if isinstance(gate, dict)}
    found = [
        LoosenedGate(name=str(gate["name"]), change=change)
        for gate in theirs.get("gates") or ()
        if gate.get("stage") not in stages and (change := _gate(there.get(str(gate["name"])), gate))
    ]
    compared = _comparison(_mapping(mine, "comparison"), _mapping(theirs, "comparison"))
    return found + [one for one in compared if one.name not in metrics]


def _document(text: str) -> dict[str, Any]:
    try:
        document, _ = bounded_yaml(text)
    except yaml.YAMLError:
        return {}
    return document if isinstance(document, dict) else {}


def _mapping(document: dict[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _gate(mine: dict[str, Any] | None, theirs: dict[str, Any]) -> str:
    keys = ("stage", "metric", "direction", "relative_to", "compare")
    if theirs.get("severity") == "warn":  # it lets everything pass
        return ""
    if mine is None or any(mine.get(key) != theirs.get(key) for key in keys):
        return "removed" if mine is None else "measures something else"
    changes = ["severity refuse -> warn"] if mine.get("severity") == "warn" else []
    lower = theirs["direction"] == "at_least"
    if _looser(mine.get("limit"), theirs["limit"], lower=lower):
        changes.append(f"limit {theirs['limit']} -> {mine.get('limit')}")
    if _looser(mine.get("min_samples"), theirs["min_samples"], lower=True):
        changes.append(f"min_samples {theirs['min_samples']} -> {mine.get('min_samples')}")
    return ", ".join(changes)


def _comparison(mine: dict[str, Any], theirs: dict[str, Any]) -> Iterable[LoosenedGate]:
    """A higher confidence calls fewer differences worse, and so do larger tolerated ones."""
    if theirs and _looser(mine.get("confidence"), theirs.get("confidence"), lower=False):
        change = f"confidence {theirs.get('confidence')} -> {mine.get('confidence')}"
        yield LoosenedGate(name="comparison", change=change)
    metrics = _mapping(mine, "metrics")
    for name, policy in _mapping(theirs, "metrics").items():
        own = _mapping(metrics, name)
        before, after = policy.get("decides", "never"), own.get("decides", "never")
        if _STRICT.get(after, -1) < _STRICT[before]:
            yield LoosenedGate(name=name, change=f"decides {before} -> {after}")
        elif before != "never":
            for key in ("smallest", "smallest_ratio"):
                if _looser(own.get(key, 0), policy.get(key, 0), lower=False):
                    yield LoosenedGate(name=name, change=f"{key} {policy.get(key, 0)} -> {own.get(key, 0)}")
            if policy.get("deterministic") and not own.get("deterministic"):
                yield LoosenedGate(name=name, change="deterministic true -> false")


def _looser(mine: Any, theirs: Any, *, lower: bool) -> bool:
    """Compare two limits. Anything else than a number allows everything."""
    if not isinstance(mine, int | float):
        return True
    return bool(mine < theirs if lower else mine > theirs)
