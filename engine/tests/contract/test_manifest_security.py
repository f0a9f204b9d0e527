"""Rendered manifests under a scanner, checkov: no violation, and every seeded one is found.

Scanners pass over a Rollout and an AnalysisTemplate without a word. So they are scanned as the Deployment and the Jobs
that they make, and the report has to name each of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from sluice.cluster.manifests import Manifest, as_builtin, parse, place
from support import checkov
from support.kubernetes.manifests import COMPONENTS, OVERLAYS, combined, overlay

LEFT_OUT = {
    "CKV_K8S_11": "a limit of CPU makes answers slower and nothing safer",
    "CKV_K8S_35": "Locust, PostgreSQL and Langfuse take theirs from the environment; the service's keys are a file",
    "CKV_K8S_15": "a digest never changes, so what the node has is right",
    "CKV_K8S_14": "components name images without a digest, for the overlay to set",
    "CKV_K8S_43": "as above; test_manifests.py asks every overlay for digests",
}
pytestmark = checkov.MARKS


def scannable(documents: list[Manifest]) -> list[Manifest]:
    """Built-in kinds as they are, what runs pods as a built-in kind; the rest has no pods."""
    found = []
    for document in documents:
        group = document["apiVersion"].rpartition("/")[0]
        found += as_builtin(document) or ([document] if "." not in group or group.endswith(".k8s.io") else [])
    return found


def scan(folder: Path, leave_out: set[str] | None = None) -> dict[str, Any]:
    return checkov.report("kubernetes", folder, LEFT_OUT if leave_out is None else leave_out)


def seen(report: dict[str, Any], file: str) -> set[str]:
    """`Kind.namespace.name` of what had a check, passed or failed, in one file."""
    results = report["results"]
    return {row["resource"] for row in results["passed_checks"] + results["failed_checks"] if row["file_path"] == file}


def test_no_overlay_and_no_component_breaks_a_rule(tmp_path: Path) -> None:
    expected: dict[str, set[str]] = {}
    for name, documents in [(n, overlay(n)) for n in OVERLAYS] + [(n, combined(n)) for n in COMPONENTS]:
        told = scannable(documents)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(told))
        expected[f"/{name}.yaml"] = {
            f"{one['kind']}.{one['metadata'].get('namespace', 'default')}.{one['metadata']['name']}"
            for one in told
            if as_builtin(one)
        }
    report = scan(tmp_path)
    assert report["summary"]["parsing_errors"] == 0
    failed = {
        f"{row['file_path']}: {row['resource']}: {row['check_name']}" for row in report["results"]["failed_checks"]
    }
    assert not failed
    for file, workloads in expected.items():
        assert len(workloads) >= 2, "a Rollout and its load Job at least"
        assert workloads <= seen(report, file), f"{file}: not scanned"


def test_a_rollout_as_it_is_would_not_be_scanned(tmp_path: Path) -> None:
    rollout = next(one for one in overlay("local") if one["kind"] == "Rollout")
    rollout["spec"]["template"]["spec"]["hostNetwork"] = True  # type: ignore[index]
    for name, document in (("raw", rollout), ("converted", as_builtin(rollout)[0])):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document))
    report = scan(tmp_path)
    failed = {row["file_path"] for row in report["results"]["failed_checks"]}
    assert failed == {"/converted.yaml"}


Change = Callable[[dict[str, Any], dict[str, Any]], None]


def _set(where: str, *path: str, to: Any) -> Change:
    """Sets a key of the pod or of its first container."""

    def change(pod: dict[str, Any], container: dict[str, Any]) -> None:
        at = pod if where == "pod" else container
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = to

    return change


def _drop(where: str, *path: str) -> Change:
    def change(pod: dict[str, Any], container: dict[str, Any]) -> None:
        at = pod if where == "pod" else container
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]

    return change


SEEDED: dict[str, tuple[str, Change]] = {
    "privileged": ("CKV_K8S_16", _set("container", "securityContext", "privileged", to=True)),
    "host-network": ("CKV_K8S_19", _set("pod", "hostNetwork", to=True)),
    "host-pid": ("CKV_K8S_17", _set("pod", "hostPID", to=True)),
    "host-ipc": ("CKV_K8S_18", _set("pod", "hostIPC", to=True)),
    "host-port": ("CKV_K8S_26", _set("container", "ports", to=[{"containerPort": 8000, "hostPort": 8000}])),
    "escalation": ("CKV_K8S_20", _set("container", "securityContext", "allowPrivilegeEscalation", to=True)),
    "root": ("CKV_K8S_23", _set("pod", "securityContext", to={"runAsNonRoot": False, "runAsUser": 0})),
    "low-uid": ("CKV_K8S_40", _set("pod", "securityContext", "runAsUser", to=0)),
    "writable-root": ("CKV_K8S_22", _drop("container", "securityContext", "readOnlyRootFilesystem")),
    "all-capabilities": ("CKV_K8S_37", _drop("container", "securityContext", "capabilities")),
    "sys-admin": ("CKV_K8S_39", _set("container", "securityContext", "capabilities", to={"add": ["SYS_ADMIN"]})),
    "no-seccomp": ("CKV_K8S_31", _drop("pod", "securityContext", "seccompProfile")),
    "token": ("CKV_K8S_38", _set("pod", "automountServiceAccountToken", to=True)),
    "no-memory-limit": ("CKV_K8S_13", _drop("container", "resources", "limits")),
    "docker-socket": (
        "CKV_K8S_27",
        _set("pod", "volumes", to=[{"name": "x", "hostPath": {"path": "/var/run/docker.sock"}}]),
    ),
    "mutable-tag": ("CKV_K8S_14", _set("container", "image", to="sluice:latest")),
}


def test_every_seeded_violation_is_found(tmp_path: Path) -> None:
    rollout = parse(yaml.safe_dump(next(one for one in overlay("production") if one["kind"] == "Rollout")))[0]
    for name, (_, change) in SEEDED.items():
        seeded = copy.deepcopy(rollout)
        pod = seeded["spec"]["template"]["spec"]
        change(pod, pod["containers"][0])
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(as_builtin(seeded)))
    assert place(rollout) == "Rollout/sluice"
    report = scan(tmp_path, set(LEFT_OUT) - {"CKV_K8S_14"})
    found = {(row["file_path"], row["check_id"]) for row in report["results"]["failed_checks"]}
    assert {(f"/{name}.yaml", check) for name, (check, _) in SEEDED.items()} <= found
