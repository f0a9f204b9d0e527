"""Writes the limits of config/gates.yaml into the AnalysisTemplates. Runs as `sluice gates sync`, as `make sync`.

A gate of the stage `analysis` has a template of its name, with dashes for underscores: `latency_p95` is
engine/k8s/analysis/latency-p95.yaml. Its arguments `latency-p95-limit` and `latency-p95-samples` hold the gate's
numbers. They have names of their own because Argo Rollouts merges the arguments of all templates of a step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sluice.core.errors import Faults
from sluice.core.files import write_atomic
from sluice.release.gates import Gate, load_gates


def limits_of(gates: Sequence[Gate]) -> dict[str, dict[str, str]]:
    """Template name -> {argument: value}, for every gate of the stage `analysis`."""
    found = {}
    for gate in gates:
        if gate.stage == "analysis":
            name = gate.name.replace("_", "-")
            found[name] = {
                f"{name}-limit": str(gate.limit).removesuffix(".0"),
                f"{name}-samples": str(gate.min_samples),
            }
    return found


def sync(gates: Path, templates: Path) -> list[Path]:
    """Sets the arguments in the files of `templates`, comments and layout stay; the files that changed. Faults for a
    gate without its template or argument: it would decide nothing."""
    faults: list[str] = []
    texts: dict[Path, str] = {}
    for name, arguments in limits_of(load_gates(gates)).items():
        path = templates / f"{name}.yaml"
        if not path.is_file():
            faults.append(f"{path}: no such template, for the gate {name.replace('-', '_')}")
            continue
        text = path.read_text(encoding="utf-8")
        for argument, value in arguments.items():
            text, times = re.subn(rf'(- name: {argument}\n +value: )"[^"\n]*"', rf'\g<1>"{value}"', text)
            if times != 1:
                faults.append(f"{path}: no argument {argument} with a quoted value on the line below its name")
        texts[path] = text
    if faults:
        raise Faults(str(templates), faults, remedy="engine/docs/reference/analysis.md says what belongs to a gate")
    changed = [path for path, text in texts.items() if path.read_text(encoding="utf-8") != text]
    for path in changed:
        write_atomic(path, texts[path])
    return changed
