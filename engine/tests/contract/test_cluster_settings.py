"""Settings of engine/docs/reference/cluster.md that an overlay patches, rendered as they are written there."""

import json
import re
from pathlib import Path

import pytest

from sluice.cluster.manifests import Manifest, parse, pods, render, validate
from support.kubernetes.manifests import ROOT, SCHEMAS, combination, combined, one

PAGE = (ROOT / "engine" / "docs" / "reference" / "cluster.md").read_text()
JUDGES = ("success-rate", "latency-p95", "ttft-p95", "block-rate", "feedback-score", "ab-preference")


def patched(folder: Path, words: str) -> list[Manifest]:
    """Render with the patches of the page that have these words."""
    (block,) = (one for one in re.findall(r"^```\n(patches:\n.*?)^```", PAGE, re.M | re.S) if words in one)
    path = combination(folder / "overlay", ("monitoring", "notifications")) / "kustomization.yaml"
    path.write_text(path.read_text() + block)
    documents = parse(render(path.parent))
    validate(documents, SCHEMAS)
    return documents


def test_another_domain_of_the_cluster_is_set(tmp_path: Path) -> None:
    documents = patched(tmp_path, "externalName")
    assert one(documents, "Service", "sluice-router")["spec"]["externalName"] == "traefik.traefik.svc.corp.example"
    assert "cluster.local" not in json.dumps(documents), "and it is nowhere else"


@pytest.mark.parametrize(("words", "key"), [("sluice-prometheus", "headers"), ("sigv4", "authentication")])
def test_every_analysis_logs_in_to_prometheus(tmp_path: Path, words: str, key: str) -> None:
    """A header's value takes an argument, and that a Secret (1.9.1, analysis/analysis.go: resolveArgs;
    metricproviders/prometheus/prometheus.go: NewPrometheusAPI). Amazon's is known by `aps-workspaces`."""
    documents = patched(tmp_path, words)
    asked = [one for one in documents if "prometheus-url" in str(one) and one["kind"] == "AnalysisTemplate"]
    assert {one["metadata"]["name"] for one in asked} == set(JUDGES)
    for template in asked:
        provider = template["spec"]["metrics"][0]["provider"]["prometheus"]
        assert provider["address"].startswith("https://")
        assert "aps-workspaces" in provider["address"] or key == "headers"
        names = {arg["name"] for arg in template["spec"]["args"]}
        assert set(re.findall(r"args\.([\w-]+)", str(provider[key]))) <= names


def test_a_channel_is_told_how_a_release_ends(tmp_path: Path) -> None:
    """A trigger is `on-` and the reason of an event (1.9.1, utils/record/record.go: translateReasonToTrigger)."""
    subscribed = one(patched(tmp_path, "helpdesk-alerts"), "Rollout", "sluice")["metadata"]["annotations"]
    assert subscribed == {
        f"notifications.argoproj.io/subscribe.on-rollout-{end}.slack": f"helpdesk-{channel}"
        for end, channel in (("aborted", "alerts"), ("completed", "releases"))
    }


def test_on_openshift_no_pod_names_a_user_and_every_pod_reaches_dns() -> None:
    brought = ("monitoring", "pgvector", "mlflow", "llm-vllm", "postgres-exporter")
    documents = combined(*brought, "openshift")
    every = [pod for document in documents for pod in pods(document)]
    assert len(every) >= 9
    for pod in every:
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["securityContext"])
        assert pod["securityContext"]["runAsNonRoot"] is True
    (dns,) = (rule for rule in one(documents, "NetworkPolicy", "dns")["spec"]["egress"] if "openshift-dns" in str(rule))
    assert {port["port"] for port in dns["ports"]} == {5353}
