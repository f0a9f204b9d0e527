"""Writes the limits of config/gates.yaml into k8s/base/analysis-limits.yaml: `sluice gates sync`, `make sync`.

A gate of the stage `analysis` has a template of its name, with dashes for underscores: `latency_p95` is
engine/k8s/analysis/latency-p95.yaml. Its arguments `latency-p95-limit` and `latency-p95-samples` hold the gate's
numbers: defaults there, and kustomize puts those of this project in their place. They have names of their own because
Argo Rollouts merges the arguments of all templates of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import ValidationErrors
from sluice.core.settings import read_yaml
from sluice.release.gates import Gate, load_gates

_HEAD = """\
# The limits of config/gates.yaml, for the analyses of the canary in a cluster. `make sync` writes this file.
"""
# A transformer: kustomize before 5.7, which `kubectl apply -k` and Argo CD may bring, knows no `sourceValue`.
_ENTRY = """\
---
apiVersion: builtin
kind: PatchTransformer
metadata: {{name: {name}}}
target: {{kind: AnalysisTemplate, name: {name}}}
patch: |
{changes}"""
_CHANGE = """\
  - {{op: test, path: /spec/args/{index}/name, value: {argument}}}
  - {{op: replace, path: /spec/args/{index}/value, value: "{value}"}}
"""


def limits_of(gates: Sequence[Gate]) -> dict[str, dict[str, str]]:
    """Template name -> {argument: value}, for every gate of the stage `analysis`."""
    found = {}
    for gate in gates:
        if gate.stage == "analysis":
            name = gate.name.replace("_", "-")
            limit = str(gate.limit).removesuffix(".0")
            found[name] = {f"{name}-limit": limit, f"{name}-samples": str(gate.min_samples)}
    return found


def sync(gates: Path, templates: Path, out: Path) -> bool:
    """Writes the limits as patches, which kustomize applies to the templates."""
    faults: list[str] = []
    entries: list[str] = []
    for name, arguments in limits_of(load_gates(gates)).items():
        path = templates / f"{name}.yaml"
        if not path.is_file():
            faults.append(f"{path}: no such template, for the gate {name.replace('-', '_')}")
            continue
        declared = [arg["name"] for arg in read_yaml(path)[0]["spec"]["args"]]
        faults += [f"{path}: no argument {argument}" for argument in arguments if argument not in declared]
        changes = [
            _CHANGE.format(index=declared.index(argument), argument=argument, value=value)
            for argument, value in arguments.items()
            if argument in declared
        ]
        entries.append(_ENTRY.format(name=name, changes="".join(changes)))
    if faults:
        raise ValidationErrors(
            str(templates), faults, remedy="engine/docs/reference/analysis.md says what belongs to a gate"
        )
    text = _HEAD + "".join(entries)
    if out.is_file() and out.read_text(encoding="utf-8") == text:
        return False
    write_atomic(out, text)
    return True
