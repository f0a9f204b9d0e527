"""Checkov finds no violation in the rendered manifests. It skips Rollouts and AnalysisTemplates without a word, so
they are scanned as Deployments and Jobs."""

from pathlib import Path
from typing import Any

import yaml

from sluice.cluster.manifests import Manifest, as_builtin
from support import checkov
from support.kubernetes.manifests import COMPONENTS, OVERLAYS, combined, overlay

LEFT_OUT = {
    "CKV_K8S_11": "a limit of CPU makes answers slower and nothing safer",
    "CKV_K8S_35": "Locust, PostgreSQL and Langfuse take theirs from the environment; the service's keys are a file",
    "CKV_K8S_15": "a digest never changes, so what the node has is right",
    "CKV_K8S_14": "components name images without a digest, for the overlay to set",
    "CKV_K8S_43": "as above; test_manifests.py asks every overlay for digests",
}
# "Containers should run as a high UID": OpenShift chooses it, from the namespace's range.
OPENSHIFT = ("/openshift.yaml", "CKV_K8S_40")
pytestmark = checkov.MARKS


def scannable(documents: list[Manifest]) -> list[Manifest]:
    found = []
    for document in documents:
        group = document["apiVersion"].rpartition("/")[0]
        found += as_builtin(document) or ([document] if "." not in group or group.endswith(".k8s.io") else [])
    return found


def scan(folder: Path, leave_out: set[str] | None = None) -> dict[str, Any]:
    return checkov.report("kubernetes", folder, LEFT_OUT if leave_out is None else leave_out)


def seen(report: dict[str, Any], file: str) -> set[str]:
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
        f"{row['file_path']}: {row['resource']}: {row['check_name']}"
        for row in report["results"]["failed_checks"]
        if (row["file_path"], row["check_id"]) != OPENSHIFT
    }
    assert not failed
    for file, workloads in expected.items():
        assert len(workloads) >= 2, "a Rollout and its load Job at least"
        assert workloads <= seen(report, file), f"{file}: not scanned"
