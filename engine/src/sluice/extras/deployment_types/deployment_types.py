"""Reads a type of deployment from its component, engine/k8s/components/<type>, and k8s/base/rollout.yaml.

What a cluster gets from kustomize a rehearsal reads from the same files: the component's JSON patches are applied to
the Rollout, and what stands there afterwards is walked. What a rehearsal would skip is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest, read_yaml
from sluice.extras.deployment_types.copied_questions import CopiedQuestions, CopiesBegin
from sluice.extras.deployment_types.preference import PreferenceAnalysis, read_preference
from sluice.extras.deployment_types.routers import GroupRouter, MirroringRouter
from sluice.rehearsal.traefik_router import DeploymentType
from sluice.rollout.analysis_templates import LoadParameters
from sluice.rollout.canary_plan import TEMPLATES, AnalysisStep, CanaryPlan, PauseStep, SetWeight, Step, load_plan

_GROUP = re.compile(r"HeaderRegexp\(`Authorization`, `[^`]+`\)")
_BLUE_GREEN = {
    *("activeService", "previewService", "autoPromotionEnabled", "prePromotionAnalysis"),
    *("scaleDownDelaySeconds", "abortScaleDownDelaySeconds"),  # pods that stay: the cluster's business
}
# A key of the service ends with one of these: 32 random bytes in base64 leave four bits to the last character.
KEY_ENDINGS = "AEIMQUYcgkosw048"

Document = Mapping[str, Any]


def read_type(file: Path, kind: str, root: Path | None = None) -> tuple[CanaryPlan, DeploymentType]:
    """The steps of a type of deployment, and how visitors are led.

    Args:
        file: k8s/base/rollout.yaml of a checkout.
        kind: its component.
        root: the checkout whose engine/k8s has components and templates; default: that of the file.

    Raises:
        SluiceError: there is no such type, or its files hold what a rehearsal cannot run.
    """
    if kind not in _TYPES:
        raise SluiceError(f"--type {kind}: not a type of deployment{nearest(kind, [*_TYPES])}")
    return _TYPES[kind](file, (root or file.parents[2]) / "engine" / "k8s" / "components" / kind)


def _blue_green(file: Path, component: Path) -> tuple[CanaryPlan, DeploymentType]:
    def as_steps(document: Document) -> Document:
        canary = document["spec"]["strategy"]["canary"]
        changed = _patched(component, document)
        found = changed["spec"]["strategy"]["blueGreen"]
        refused = sorted(set(found) - _BLUE_GREEN)
        refused += ["autoPromotionEnabled: false"] if found.get("autoPromotionEnabled") is False else []
        if refused:
            raise SluiceError(f"{component}: {', '.join(refused)}: not supported by the rehearsal")
        before = found.get("prePromotionAnalysis") or {}
        given = {"args": before["args"]} if "args" in before else {}
        steps = [{"analysis": {"templates": [one], **given}} for one in before.get("templates") or ()]
        services = {"stableService": found["activeService"], "canaryService": found["previewService"]}
        strategy = {"canary": {**services, "trafficRouting": canary["trafficRouting"], "steps": steps}}
        return {**changed, "spec": {**changed["spec"], "strategy": strategy}}

    return load_plan(file, component.parents[3], patch=as_steps), DeploymentType(component.name)


def _rolling(file: Path, component: Path) -> tuple[CanaryPlan, DeploymentType]:
    """Shares of visitors as pods come and go: one more than wanted, and the old one goes once the new one has been
    ready for a while."""
    spec = _patched(component, read_yaml(file)[0])["spec"]
    if spec["strategy"] != {"canary": {"maxSurge": 1, "maxUnavailable": 0}}:
        raise SluiceError(f"{component}: only maxSurge: 1 with maxUnavailable: 0 is rehearsed")
    pods = int(spec.get("replicas", 1))
    steps: list[Step] = []
    for new in range(1, pods + 1):
        steps += [SetWeight(round(100 * new / (pods + 1))), PauseStep(float(spec["minReadySeconds"]))]
        steps += [SetWeight(round(100 * new / pods))] if new < pods else []
    return CanaryPlan(file, tuple(steps)), DeploymentType(component.name)


def _shadow(file: Path, component: Path) -> tuple[CanaryPlan, DeploymentType]:
    plan = load_plan(file, component.parents[3], patch=partial(_patched, component))
    mirrors = read_yaml(component / "traefikservice.yaml")[0]["spec"]["mirroring"]["mirrors"]
    unseen = next((at for at, step in enumerate(plan.steps) if isinstance(step, SetWeight)), len(plan.steps))
    steps = [one for at, step in enumerate(plan.steps) for one in (_copied(step) if at < unseen else (step,))]
    begin = next(step.parameters for step in steps if isinstance(step, AnalysisStep))
    steps.insert(0, AnalysisStep("copies", CopiesBegin(**asdict(begin))))
    router = partial(MirroringRouter, percent=int(mirrors[0]["percent"]))
    return replace(plan, steps=tuple(steps)), DeploymentType(component.name, router)


def _copied(step: Step) -> tuple[Step, ...]:
    """A look at the copies in front of a load stage: its own questions are no visitors'."""
    if not isinstance(step, AnalysisStep) or not isinstance(step.parameters, LoadParameters):
        return (step,)
    return AnalysisStep("copies", CopiedQuestions(**(asdict(step.parameters) | {"seconds": 0.0}))), step


def _ab(file: Path, component: Path) -> tuple[CanaryPlan, DeploymentType]:
    template = component.parents[3] / TEMPLATES / f"{PreferenceAnalysis.TEMPLATE}.yaml"
    others = {PreferenceAnalysis.TEMPLATE: read_preference(template)}
    plan = load_plan(file, component.parents[3], patch=partial(_patched, component), others=others)
    keys = [f"visitor-{ending}" for ending in KEY_ENDINGS]
    return plan, DeploymentType(component.name, partial(GroupRouter, group=group_of(component)), keys)


def group_of(component: Path) -> str:
    """The rule of Traefik by which a visitor belongs to those whom the canary answers: by the key that it sends."""
    changes = [str(change) for change in _changes(component, "IngressRoute")]
    groups: set[str] = {found for change in changes for found in _GROUP.findall(change)}
    if len(groups) != 1:
        raise SluiceError(
            f"{component}: every route names the same HeaderRegexp of Authorization, found {sorted(groups) or 'none'}"
        )
    return groups.pop()


def _patched(component: Path, document: Document) -> Any:
    import jsonpatch

    return jsonpatch.apply_patch(document, _changes(component, "Rollout"))


def _changes(component: Path, kind: str) -> list[dict[str, Any]]:
    """What the component's files change in objects of a kind."""
    patches: Sequence[Document] = read_yaml(component / "kustomization.yaml")[0]["patches"]
    files = [component / one["path"] for one in patches if one["target"]["kind"] == kind and "path" in one]
    return [change for path in files for change in read_yaml(path)[0]]


_TYPES: dict[str, Callable[[Path, Path], tuple[CanaryPlan, DeploymentType]]] = {
    "blue-green": _blue_green,
    "rolling": _rolling,
    "shadow": _shadow,
    "ab": _ab,
}
