"""What the API server adds to a pod template that is written: pkg/apis/core/v1/defaults.go of Kubernetes 1.34, as far
as our pods use it (SetDefaults_PodSpec, _Container, _Probe, _HTTPGetAction, _Volume, _ObjectFieldSelector)."""

from __future__ import annotations

from typing import Any

from support.kubernetes.field_ownership import copied

Object = dict[str, Any]
_POD = {
    "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
    "terminationGracePeriodSeconds": 30, "securityContext": {},
}  # fmt: skip
_CONTAINER = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "resources": {}}
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def defaulted(template: Object) -> Object:
    """A copy of a pod template with its defaults."""
    found = copied(template)
    spec = found.setdefault("spec", {})
    _fill(spec, _POD)
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for one in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        _container(one)
    for volume in spec.get("volumes", ()):
        for kind in ("configMap", "secret"):
            if kind in volume:
                volume[kind].setdefault("defaultMode", 0o644)
        if "emptyDir" in volume and volume["emptyDir"] is None:
            volume["emptyDir"] = {}
    return found


def _container(one: Object) -> None:
    _fill(one, _CONTAINER)
    pinned = "@" in one.get("image", "") or ":" in one.get("image", "").rpartition("/")[2]
    latest = one.get("image", "").endswith(":latest") or not pinned
    one.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    for port in one.get("ports", ()):
        port.setdefault("protocol", "TCP")
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        if name in one:
            _fill(one[name], _PROBE)
            one[name].get("httpGet", {}).setdefault("scheme", "HTTP")
    for variable in one.get("env", ()):
        (variable.get("valueFrom", {}).get("fieldRef") or {}).setdefault("apiVersion", "v1")
    resources = one["resources"]
    for name, amount in resources.get("limits", {}).items():
        resources.setdefault("requests", {}).setdefault(name, amount)


def _fill(document: Object, defaults: Object) -> None:
    for key, value in defaults.items():
        document.setdefault(key, copied(value))
