"""Which field of an object belongs to which manager: server-side apply as the API server does it.

The algorithm is the documented one (kubernetes.io, "Server-Side Apply": merge strategy, conflicts, managers, removal of
owned fields); its words of a conflict are those that Kubernetes 1.34 said in our recordings. Which lists merge by a key
and which maps are whole are the markers of `x-kubernetes-list-type` and `x-kubernetes-map-type` in the definitions of
Kubernetes 1.34 and of Argo Rollouts 1.9.1, as far as our kinds use them. Every other list is whole: one owner.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
Path = tuple[str, ...]

_KEYS = {
    "containers": ("name",), "initContainers": ("name",), "volumes": ("name",), "env": ("name",),
    "volumeMounts": ("mountPath",), "imagePullSecrets": ("name",), "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}  # fmt: skip
# The definition of a Rollout has no marker for the volumes of its pods: to the API server they are one value.
_WHOLE_LISTS = {("Rollout", "volumes")}
_WHOLE_MAPS = {
    "selector", "labelSelector", "namespaceSelector", "nodeSelector", "configMapKeyRef", "secretKeyRef", "fieldRef",
    "resourceFieldRef", "configMapRef", "secretRef",
}  # fmt: skip
# What belongs to nobody: it names the object, or the API server writes it.
_NOBODYS = {("apiVersion",), ("kind",)} | {
    ("metadata", name)
    for name in ("name", "namespace", "uid", "generation", "resourceVersion", "creationTimestamp", "managedFields")
}


def copied(value: Any) -> Any:
    """A copy of what came out of JSON, in a tenth of the time of `copy.deepcopy`."""
    return marshal.loads(marshal.dumps(value))


class FieldConflictError(Exception):
    def __init__(self, fields: list[tuple[str, str]]) -> None:
        super().__init__()
        self.fields = fields

    @property
    def message(self) -> str:
        count = len(self.fields)
        words = "; ".join(f"{manager}: {field}" for manager, field in self.fields)
        return f"Apply failed with {count} conflict{'s' if count > 1 else ''}: {words}"


def applied(live: Object | None, config: Object, manager: str, *, force: bool) -> Object:
    kind = config["kind"]
    before = copied(live) if live else {}
    wanted = _leaves(kind, config)
    owners = _owners(before)
    merged = _merge(kind, before, config) if live else copied(config)
    others = {key: owned for key, owned in owners.items() if key != (manager, "Apply")}
    taken = {path for path in wanted if _at(before, path) != _at(merged, path)}
    conflicts = [(key, path) for key, owned in sorted(others.items()) for path in sorted(_touching(owned, taken))]
    if conflicts and not force:
        version = config["apiVersion"]
        raise FieldConflictError(
            [(_conflict_with(key, version), _dotted(path)) for key, path in dict.fromkeys(conflicts)]
        )
    for key, path in conflicts:
        others[key].discard(path)
    kept = set().union(*others.values()) if others else set()
    for path in sorted(owners.get((manager, "Apply"), set()) - wanted, key=len):  # an item before what is in it
        if path not in kept and not any(other[: len(path)] == path for other in wanted | kept):
            _remove(merged, path)
    return _owned(merged, {**others, (manager, "Apply"): wanted}, config["apiVersion"])


def updated(live: Object | None, new: Object, manager: str) -> Object:
    kind, owners = new["kind"], _owners(live or {})
    before, after = _leaves(kind, live or {}), _leaves(kind, new)
    changed = {path for path in after if path not in before or _at(live or {}, path) != _at(new, path)}
    gone = before - after
    for owned in owners.values():
        owned -= changed | gone
    if changed:
        owners[manager, "Update"] = owners.get((manager, "Update"), set()) | changed
    return _owned(new, owners, new["apiVersion"])


def _conflict_with(key: tuple[str, str], version: str) -> str:
    manager, operation = key
    return f'conflict with "{manager}"' + (f" using {version}" if operation == "Update" else "")


def _touching(owned: set[Path], taken: set[Path]) -> set[Path]:
    return {
        path
        for path in owned
        if any(
            path == one or path[: len(one)] == one or one[: len(path)] == path for one in taken if one[-1:] != (".",)
        )
    }


def _keys(kind: str, name: str, items: list[Any]) -> tuple[str, ...]:
    """Return the fields that tell the items of a list apart; none if the list is whole."""
    if (kind, name) in _WHOLE_LISTS or not all(isinstance(one, dict) for one in items):
        return ()
    if name == "ports":  # of a container, or of a Service
        return ("containerPort", "protocol") if any("containerPort" in one for one in items) else ("port", "protocol")
    return _KEYS.get(name, ()) if kind != "IngressRoute" else ()


def _element(keys: tuple[str, ...], item: Object) -> str:
    return "k:" + json.dumps({key: item.get(key, "TCP" if key == "protocol" else "") for key in keys})


def _leaves(kind: str, value: Any, path: Path = ()) -> set[Path]:
    if path in _NOBODYS or path == ("status",):
        return set()
    name = path[-1].removeprefix("f:") if path else ""
    if isinstance(value, dict) and value and name not in _WHOLE_MAPS:
        return set().union(*(_leaves(kind, one, (*path, key)) for key, one in value.items()))
    if isinstance(value, list) and (keys := _keys(kind, name, value)):
        found: set[Path] = set()
        for item in value:
            inner = (*path, _element(keys, item))
            found |= {inner} | _leaves(kind, item, inner)
        return found
    return {path} if value is not None else set()


def _merge(kind: str, live: Any, config: Any, name: str = "") -> Any:
    if isinstance(live, dict) and isinstance(config, dict) and name not in _WHOLE_MAPS:
        merged = dict(live)
        for key, value in config.items():
            if value is not None:
                merged[key] = _merge(kind, live[key], value, key) if key in live else copied(value)
        return merged
    if isinstance(live, list) and isinstance(config, list) and (keys := _keys(kind, name, [*live, *config])):
        items = {_element(keys, one): one for one in live}
        wanted = {_element(keys, one): one for one in config}
        # What is applied keeps its order, what only others own comes after it.
        return [
            *(_merge(kind, items[key], one) if key in items else copied(one) for key, one in wanted.items()),
            *(one for key, one in items.items() if key not in wanted),
        ]
    return copied(config)


def _step(value: Any, element: str) -> Any:
    if element.startswith("k:"):
        keys = json.loads(element[2:])
        return next((one for one in value if _element(tuple(keys), one) == element), None)
    return value.get(element) if isinstance(value, dict) else None


def _at(value: Any, path: Path) -> Any:
    for element in path:
        if value is None or (element.startswith("k:") and not isinstance(value, list)):
            return None
        value = _step(value, element)
    return value


def _remove(document: Object, path: Path) -> None:
    around = _at(document, path[:-1])
    if path[-1].startswith("k:"):
        found = _step(around or [], path[-1])
        if found is not None:
            around.remove(found)
    elif isinstance(around, dict):
        around.pop(path[-1], None)
        if not around and len(path) > 2:
            _remove(document, path[:-1])


def _owned(document: Object, owners: dict[tuple[str, str], set[Path]], version: str) -> Object:
    document["metadata"]["managedFields"] = [
        {"manager": manager, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1"}
        | {"fieldsV1": _nested(owned)}
        for (manager, operation), owned in sorted(owners.items())
        if owned
    ]
    return document


def _owners(document: Object) -> dict[tuple[str, str], set[Path]]:
    return {
        (one["manager"], one["operation"]): set(_paths(one["fieldsV1"]))
        for one in (document.get("metadata") or {}).get("managedFields") or ()
    }


def _nested(paths: set[Path]) -> Object:
    found: Object = {}
    for path in sorted(paths):
        around = found
        for element in path:
            around = around.setdefault(element if element.startswith("k:") else f"f:{element}", {})
        around["."] = {}
    return found


def _paths(fields: Object, path: Path = ()) -> Iterator[Path]:
    for element, inner in fields.items():
        if element == ".":
            yield path
        else:
            yield from _paths(inner, (*path, element.removeprefix("f:")))


def _dotted(path: Path) -> str:
    words = ""
    for element in path:
        if element.startswith("k:"):
            words += (
                "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(element[2:]).items()) + "]"
            )
        else:
            words += f".{element}"
    return words
