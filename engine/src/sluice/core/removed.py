"""Commands and settings that were removed, each with its replacement."""

from __future__ import annotations

from collections.abc import Container
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError

_SEARCH = "queue experiments with `dvc exp run --queue --set-param` (engine/docs/reference/training.md#search)"
_PROXY = "set limits in the proxy in front (docs/operate.md#connections)"
_GATEWAY = "set budgets in an LLM gateway such as LiteLLM (docs/operate.md#api-keys)"
_HISTORY = "keep the history in the caller (engine/docs/reference/service.md#conversations)"
_VALIDATOR = "take a validator of guardrails-ai (engine/docs/reference/guardrails.md#validators-of-guardrails-ai)"
_OWN_STORE = "give the tenant a store of its own (engine/docs/reference/vector-stores.md)"
_HALF = "set `precision: half` (engine/docs/reference/vector-stores.md)"
_BATCH = "set `train.batch`, the examples that are computed together (engine/docs/decisions/sft-trainer.md)"
_DRIFT = "watch similarity, declines and feedback on the dashboard (engine/docs/reference/monitoring.md)"
_ONE_MACHINE = "`sluice index build` embeds on one machine, and only what it has not embedded before"
_PULL = "`sluice models pull` names each model and verifies its sha256"
_OF_DATAKIT = ("curation", "importing", "synthetic", "traffic")
_HELP = ("sentences", "max_doubt")  # of `retrieval` in service.yaml; of `small_model` now
# A command, a key of a file or a check (`FILE: NAME`; `*` for any name), an extra, or a whole file of config/.
REMOVED = {
    "sluice sweep": _SEARCH,
    "params.yaml: sweep": _SEARCH,
    "params.yaml: train.layers": "training adapts all layers",
    "params.yaml: train.share": _BATCH,
    "params.yaml: train.join": _BATCH,
    "sluice conversations": _HISTORY,
    "conversations.yaml": _HISTORY,
    "sagemaker.yaml: endpoint.capture_percent": "switch on `traces.contents` and run `sluice data harvest`",
    "service.yaml: limits.connections": _PROXY,
    **{f"service.yaml: retrieval.{key}": f"set `small_model: {{{key}: …}}`" for key in _HELP},
    "budgets.yaml": _GATEWAY,
    "guardrails.yaml: toxicity": _VALIDATOR,
    "gates.yaml: comparison.metrics.toxicity": _VALIDATOR,
    "stores.yaml: stores.*.partition_by": _OWN_STORE,
    "stores.yaml: stores.*.vectors.index": _HALF,
    "stores.yaml: stores.*.vectors.oversampling": _HALF,
    "sluice status": "use `sluice release list` and `kubectl argo rollouts get rollout`",
    "sluice fleet new": "use the four commands of engine/docs/reference/fleet.md#new-projects",
    "sluice release recompute": "make the release again at its commit: the same content has the same id",
    "sluice models list": _PULL,
    "sluice models verify": _PULL,
    "sluice models lineage": "read `rows` of the release's training.json: the digest of each training row",
    "sluice fleet advise": "`sluice fleet status` shows the version of each engine (engine/docs/reference/fleet.md)",
    "sluice fleet backstage": "write catalog-info.yaml from fleet.yaml yourself",
    "sluice index drop-tenant": "take the documents out of the corpus and release it, then `sluice index prune`",
    "sluice guard overlap": "read `overlap` of build/guard/report.json",
    "sluice index migrate": "`sluice index load` makes what the store needs",
    "sluice index shard": _ONE_MACHINE,
    "sluice index take": _ONE_MACHINE,
    "sluice tools check": "a start checks the pins; `sluice tools pin` and `git diff` show what has changed",
    "gates.yaml: drift": _DRIFT,
    "sluice data drift": _DRIFT,
    **{f"extra: {part}": "leave out `datakit`, which holds it now" for part in _OF_DATAKIT},
    "extra: evidence": "leave out `small_model`, which holds it now",
}


def replacement(name: str) -> str:
    """Return ` (removed: …)` for a name of the table, otherwise an empty string."""
    return next((f" (removed: {why})" for pattern, why in REMOVED.items() if fnmatchcase(name, pattern)), "")


def without_removed(file: str, document: Any, known: Container[str]) -> Any:
    """Return a config file of an older release without keys and checks that were removed since. The help for a small
    model moves to its new key."""

    def kept(value: Any, place: tuple[str, ...]) -> Any:
        if isinstance(value, list):
            return [kept(item, (*place, str(number))) for number, item in enumerate(value) if not gone(item)]
        if not isinstance(value, dict):
            return value
        below = {key: (*place, str(key)) for key in value}
        return {key: kept(value[key], at) for key, at in below.items() if not replacement(f"{file}: {'.'.join(at)}")}

    def gone(item: Any) -> bool:
        name = item.get("check") if isinstance(item, dict) else None
        return isinstance(name, str) and bool(replacement(f"{file}: {name}")) and name not in known

    retrieval = (document.get("retrieval") if file == "service.yaml" else None) or {}
    moved = {key: retrieval[key] for key in _HELP if key in retrieval}
    helped = {"small_model": {"sentences": 0, "max_doubt": 1} | moved} if moved else {}
    return {**kept(document, ()), **helped}


def refuse_files(config: Path) -> None:
    for name in REMOVED:
        if (config / name).is_file():
            raise SluiceError(f"{config / name}: this file was removed", remedy=f"delete it, and {REMOVED[name]}")
