"""Parameters of the AnalysisTemplates that a rehearsal can run, and the limits of gates in those that a cluster uses.

The gate `latency_p95` of the stage `analysis` belongs to engine/k8s/analysis/latency-p95.yaml and its arguments
`latency-p95-limit` and `latency-p95-samples`. Argo Rollouts merges the arguments of a step's templates, so each has
its own names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import nearest, read_yaml, validated
from sluice.release.gates import Gate, load_gates
from sluice.rollout.argo_models import REMEDY, AnalysisTemplate, StepArg

_DURATION = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
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


@dataclass(frozen=True)
class LoadParameters:
    """A load stage: one of the `users` sends paired probes."""

    users: int
    seconds: float
    shape: str
    answer_timeout_s: float


@dataclass(frozen=True)
class QualityParameters:
    """Cases to ask of both releases, `concurrency` of each at once."""

    cases: int
    concurrency: int
    answer_timeout_s: float


Parameters = LoadParameters | QualityParameters


def parse_duration(text: str | int) -> float:
    """Return the seconds of "30s", "5m", "1h30m" or a bare number. ValueError for anything else."""
    text = str(text).strip()
    if text.isdecimal():
        return float(text)
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a duration such as 30s, 5m or 1h")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def known_shapes(root: Path) -> list[str]:
    return sorted(path.stem for path in (root / "loadtest" / "shapes").glob("[!_]*.py"))


def _load(values: Mapping[str, str], shapes: Sequence[str]) -> LoadParameters:
    if not values["users"].isdecimal() or int(values["users"]) < 2:
        raise ValueError(f"users is {values['users']!r}, at least 2 are needed: one for paired probes, one visitor")
    if values["shape"] not in shapes:
        raise ValueError(f"shape {values['shape']!r} is not in loadtest/shapes/{nearest(values['shape'], [*shapes])}")
    seconds, answer = parse_duration(values["duration"]), parse_duration(values["answer-timeout"])
    if seconds <= 0 or answer <= 0:
        raise ValueError("duration and answer-timeout must be above zero")
    return LoadParameters(int(values["users"]), seconds, values["shape"], answer)


def _quality(values: Mapping[str, str]) -> QualityParameters:
    names = ("cases", "concurrency", "answer-timeout-seconds")
    for name in names:
        if not values[name].isdecimal() or not int(values[name]):
            raise ValueError(f"{name} is {values[name]!r}, a whole number above zero is needed")
    cases, concurrency, seconds = (int(values[name]) for name in names)
    return QualityParameters(cases, concurrency, float(seconds))


# Those that a rehearsal can run; each is engine/k8s/analysis/<name>.yaml.
TEMPLATES = ("load", "quality")


def read_parameters(folder: Path, name: str, overrides: Sequence[StepArg], *, shapes: Sequence[str]) -> Parameters:
    """Return a template's defaults with the step's arguments over them.

    ValueError for an unknown template or a bad argument; SluiceError for a bad file."""
    if name not in TEMPLATES:
        raise ValueError(f"template {name!r} is not one that the rehearsal can run{nearest(name, [*TEMPLATES])}")
    path = folder / f"{name}.yaml"
    document, lines = read_yaml(path)
    template = validated(path, document or {}, lines, AnalysisTemplate, remedy=REMEDY)
    values = {arg.name: arg.value for arg in template.spec.args}
    for arg in overrides:
        if arg.value is None:
            continue
        if arg.name not in values:
            raise ValueError(f"args: {path} declares no argument {arg.name!r}{nearest(arg.name, list(values))}")
        values[arg.name] = arg.value
    try:
        return _load(values, shapes) if name == "load" else _quality(values)
    except KeyError as missing:
        raise SluiceError(f"{path}:{lines.get(('spec', 'args'), 1)}: no argument {missing}", remedy=REMEDY) from None


def limits_of(gates: Sequence[Gate]) -> dict[str, dict[str, str]]:
    """Return {template: {argument: value}} for the gates of the stage `analysis`."""
    found = {}
    for gate in gates:
        if gate.stage == "analysis":
            name = gate.name.replace("_", "-")
            limit = str(gate.limit).removesuffix(".0")
            found[name] = {f"{name}-limit": limit, f"{name}-samples": str(gate.min_samples)}
    return found


def sync(gates: Path, templates: Path, out: Path) -> bool:
    """Write the limits as kustomize patches of the templates; False if nothing changed."""
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
