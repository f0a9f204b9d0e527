"""Argo CD 3.5.1 and Flux (kustomize-controller 1.9.4), as far as they apply what is in git: a sync, or self-healing.

Flux applies server-side with force and skips what is annotated `ssa: IfNotPresent` and there (fluxcd/pkg,
ssa/manager_apply.go `shouldSkipApply`, `apply`; kustomize-controller docs/spec/v1/kustomizations.md, "Control the apply
behavior of resources"). Pruning skips `prune: disabled` (there, "Prune").

Argo CD takes what differs by a three-way merge with the annotation of the last apply
(docs/user-guide/diff-strategies.md, "Legacy"; gitops-engine/pkg/diff/diff.go:731, 812): of a custom resource a list is
whole (`CreateThreeWayJSONMergePatch`), and so are here those of built-in kinds. With RespectIgnoreDifferences=true the
fields under `ignoreDifferences` are first copied from what is live, a list as a whole (controller/sync.go:496,
`normalizeTargetResources`, `getMergePatch`); only where the object is there already (docs/user-guide/sync-options.md,
"Respect ignore differences configs").
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from support.kubernetes.api_server import KubeApi
from support.kubernetes.field_ownership import copied

Object = dict[str, Any]
LAST = "kubectl.kubernetes.io/last-applied-configuration"
FLUX = "kustomize.toolkit.fluxcd.io"


def flux(api: KubeApi, documents: Sequence[Object]) -> None:
    for one in documents:
        annotations = one["metadata"].get("annotations") or {}
        there = api.find(one["kind"], one["metadata"]["name"])
        if not there or annotations.get(f"{FLUX}/ssa") != "IfNotPresent":
            api.apply(one, "kustomize-controller", force=True)


def argo_cd(api: KubeApi, documents: Sequence[Object], application: Object) -> list[str]:
    """Sync what is out of sync, and return it. `application`: the spec with `ignoreDifferences`."""
    synced = []
    for one in documents:
        live = api.find(one["kind"], one["metadata"]["name"])
        last = json.loads(((live or {}).get("metadata", {}).get("annotations") or {}).get(LAST, "{}"))
        config = copied(one)
        for path in _ignored(one, application) if live else ():
            _take(config, live, path)
        merged = _three_way(last, config, live or {})
        if merged != live:
            merged["metadata"].setdefault("annotations", {})[LAST] = json.dumps(config)
            api.write(merged, "argocd-controller")
            synced.append(f"{one['kind']}/{one['metadata']['name']}")
    return synced


def _ignored(document: Object, application: Object) -> list[str]:
    """Return the jq paths for an object, such as `.spec.weighted.services[].weight`."""
    assert "RespectIgnoreDifferences=true" in application["syncPolicy"]["syncOptions"]
    group = document["apiVersion"].rpartition("/")[0]
    rules = [
        one for one in application["ignoreDifferences"] if (one["group"], one["kind"]) == (group, document["kind"])
    ]
    return [path for one in rules for path in one["jqPathExpressions"]]


def _take(config: Object, live: Any, path: str) -> None:
    """Copy a field from what is live: a list on its way as a whole."""
    match = re.fullmatch(r"((?:\.\w+)+)(?:\[\].*)?", path)
    assert match, path
    *around, name = match[1].strip(".").split(".")
    for key in around:
        config, live = config.get(key) or {}, live.get(key) or {}
    if name in live and name in config:
        config[name] = live[name]


def _three_way(last: Any, config: Any, live: Any) -> Any:
    if not isinstance(config, dict) or not isinstance(live, dict):
        return config
    merged = {key: one for key, one in live.items() if key in config or key not in (last or {})}
    for key, one in config.items():
        merged[key] = _three_way((last or {}).get(key), one, live[key]) if key in live else one
    return merged
