"""Seeded typos in rendered overlays: each is refused by name. An API server would drop most in silence."""

from __future__ import annotations

import pytest

from sluice.cluster.manifests import parse, validate
from sluice.core.errors import SluiceError, ValidationErrors
from support.kubernetes.manifests import SCHEMAS, combined_text, overlay_text

PRODUCTION, STAGING = "production", "staging"
TYPOS = [
    (PRODUCTION, "  revisionHistoryLimit: 10", "  revisionHistoryLimits: 10", "revisionHistoryLimits"),
    (PRODUCTION, "      - setWeight: 10", "      - setWieght: 10", "setWieght"),
    (PRODUCTION, "stableService: sluice-stable", "stableservice: sluice-stable", "stableservice"),
    (PRODUCTION, "weightedTraefikServiceName: sluice", "weightedTraefikService: sluice", "weightedTraefikService"),
    (PRODUCTION, "terminationGracePeriodSeconds: 60", "terminationGracePeriod: 60", "terminationGracePeriod"),
    (PRODUCTION, "readOnlyRootFilesystem: true", "readonlyRootFilesystem: true", "readonlyRootFilesystem"),
    (PRODUCTION, "readinessProbe:", "readynessProbe:", "readynessProbe"),
    (PRODUCTION, "            path: /readyz", "            pth: /readyz", "pth"),
    (PRODUCTION, "setWeight: 10", "setWeight: ten", "ten"),
    (PRODUCTION, "whenUnsatisfiable: ScheduleAnyway", "whenUnsatisfied: ScheduleAnyway", "whenUnsatisfied"),
    (PRODUCTION, "      - templateName: load", "      - template: load", "template"),
    (PRODUCTION, "failureLimit: 0", "failuresLimit: 0", "failuresLimit"),
    (PRODUCTION, "backoffLimit: 0", "backOffLimit: 0", "backOffLimit"),
    (PRODUCTION, "  podSelector: {}", "  podSelectors: {}", "podSelectors"),
    (PRODUCTION, "  maxUnavailable: 1", "  maxUnavailabel: 1", "maxUnavailabel"),
    (PRODUCTION, "averageUtilization: 80", "averageUtilisation: 80", "averageUtilisation"),
    (PRODUCTION, "podTargetLabels:", "podTargetLabel:", "podTargetLabel"),
    (PRODUCTION, "refreshInterval: 1m", "refreshIntervall: 1m", "refreshIntervall"),
    (PRODUCTION, "postInitApplicationSQL:", "postInitAplicationSQL:", "postInitAplicationSQL"),
    (PRODUCTION, "    - kind: TraefikService", "    - kind: TraefikServices", "TraefikServices"),
    (PRODUCTION, "entryPoints:", "entrypoints:", "entrypoints"),
    (STAGING, "volumeClaimTemplates:", "volumeClaimsTemplates:", "volumeClaimsTemplates"),
    (STAGING, "claimName: mlflow", "claimname: mlflow", "claimname"),
    (STAGING, "kind: Rollout", "kind: Rolout", "Rolout"),
    (STAGING, "targetPort: http", "targetport: http", "targetport"),
    (STAGING, "  labels:\n    pod-security", "  lables:\n    pod-security", "lables"),
]


@pytest.mark.parametrize(("where", "right", "wrong", "named"), TYPOS, ids=lambda value: value.strip()[:30])
def test_a_typo_is_refused_by_name(where: str, right: str, wrong: str, named: str) -> None:
    text = overlay_text(where)
    assert right in text, "the line that this typo is made in has changed"
    seeded = text.replace(right, wrong, 1)
    with pytest.raises((ValidationErrors, SluiceError), match=named):
        validate(parse(seeded), SCHEMAS)


@pytest.mark.parametrize(
    ("component", "right", "wrong"),
    [
        ("blue-green", "previewService:", "previewservice:"),
        ("shadow", "setCanaryScale:", "setCanaryScales:"),
        ("ab", "setCanaryScale:", "setCanaryScales:"),
        ("ingress-alb", "rootService:", "rootservice:"),
    ],
)
def test_a_typo_in_a_component_is_refused_by_name(component: str, right: str, wrong: str) -> None:
    text = combined_text((component,))
    assert right in text
    with pytest.raises(ValidationErrors, match=wrong.partition(":")[0]):
        validate(parse(text.replace(right, wrong, 1)), SCHEMAS)


def test_a_manifest_that_is_there_twice_is_refused() -> None:
    documents = parse(overlay_text("local"))
    with pytest.raises(ValidationErrors, match="twice"):
        validate([*documents, documents[-1]], SCHEMAS)


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(ValidationErrors, match="nothing was rendered"):
        validate([], SCHEMAS)
