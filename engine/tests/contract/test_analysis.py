"""The analysis of the canary says the same in config/gates.yaml, in k8s/ and in the service's /metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.cli import app
from sluice.cluster.manifests import parse, render
from sluice.cluster.release_overlay import LOAD
from sluice.release.gates import Gate, load_gates
from sluice.release.manifest import FILE, JUDGING, JUDGING_CASES, JUDGING_GATES
from sluice.rollout.analysis_templates import limits_of
from sluice.serving.middleware import CHAT
from sluice.serving.service_metrics import ServiceMetrics
from starter_files import GATES as STARTER_GATES
from starter_files import ROLLOUT, ROOT
from support.kubernetes import argo_metric

ENGINE = ROOT / "engine" / "k8s"
MONITORING = ENGINE / "components" / "monitoring"
EXPORTERS = ROOT / "engine" / "tests" / "support" / "kubernetes" / "exporters.yaml"
ANALYSIS = {
    document["metadata"]["name"]: document
    for path in sorted((ENGINE / "analysis").glob("*.yaml"))
    if (document := yaml.safe_load(path.read_text()))["kind"] == "AnalysisTemplate"
}
PROMETHEUS = [name for name, one in ANALYSIS.items() if "prometheus" in one["spec"]["metrics"][0]["provider"]]
JOBS = sorted(set(ANALYSIS) - set(PROMETHEUS))
GATES: dict[str, Gate] = {
    gate.name.replace("_", "-"): gate for gate in load_gates(STARTER_GATES) if gate.stage == "analysis"
}
SCORES = {"feedback-score", "ab-preference"}  # of users, in a step of their own
OPERATOR = {"at_least": ">=", "at_most": "<="}
# Labels that are not the service's own: of buckets, and of the target that Prometheus reads.
TARGET_LABELS = {"le", "service", "rollouts_pod_template_hash", "project", "namespace"}


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_the_limits_in_the_templates_are_those_of_the_gates() -> None:
    assert sorted(GATES) == sorted(PROMETHEUS), "each gate of the stage has a template, and each template a gate"
    for name, wanted in limits_of(list(GATES.values())).items():
        given = {
            arg: value for arg, value in argo_metric.defaults(ANALYSIS[name]).items() if arg.startswith(f"{name}-")
        }
        assert given == wanted, "the defaults are the starter's limits"


@pytest.mark.parametrize("overlay", sorted(path.parent.name for path in ROOT.glob("k8s/overlays/*/kustomization.yaml")))
def test_what_a_cluster_gets_are_the_limits_of_this_project_s_gates(overlay: str) -> None:
    rendered = {
        one["metadata"]["name"]: argo_metric.defaults(one)
        for one in parse(render(ROOT / "k8s" / "overlays" / overlay))
        if one["kind"] == "AnalysisTemplate"
    }
    for name, wanted in limits_of(load_gates(ROOT / "config" / "gates.yaml")).items():
        given = {argument: rendered[name].get(argument) for argument in wanted}
        assert given == wanted, "run `make sync`"


@pytest.mark.parametrize("name", PROMETHEUS)
def test_a_template_decides_as_its_gate_says(name: str) -> None:
    gate, (metric,) = GATES[name], ANALYSIS[name]["spec"]["metrics"]
    limit = f"{{{{args.{name}-limit}}}}"
    compared = f"result[0] {OPERATOR[gate.direction]} {limit}"
    assert metric["successCondition"] == f"len(result) == 1 && !isNaN(result[0]) && !isInf(result[0]) && {compared}"
    query = metric["provider"]["prometheus"]["query"]
    releases = ["canary"] if gate.relative_to == "none" else ["canary", "stable"]
    assert re.findall(r"args\.(\w+)-hash", query)[0] == "canary"
    assert set(re.findall(r"args\.(\w+)-hash", query)) == set(releases)
    # The figure itself, and after it one guard for each release that it rests on.
    figure, *guards = query.split("\nand\n")
    assert len(guards) == len(releases)
    for release, guard in zip(releases, guards, strict=True):
        assert f"args.{release}-hash" in guard
        assert guard.strip().endswith(f">= {{{{args.{name}-samples}}}}")
    if gate.compare == "ratio":
        assert "\n  /\n" in figure
    if gate.compare == "difference":
        assert "\n  -\n" in figure


@pytest.mark.parametrize("name", PROMETHEUS)
def test_nothing_of_prometheus_is_ever_inconclusive_or_endless(name: str) -> None:
    (metric,) = ANALYSIS[name]["spec"]["metrics"]
    assert "failureCondition" not in metric, "a value between two conditions would be inconclusive: a pause, no abort"
    assert "inconclusiveLimit" not in metric
    assert metric["failureLimit"] == 0
    assert metric["count"] >= 2
    # Before that it sees older traffic; of a group's scores there are none, since it had no visitors.
    delays = {"feedback-score": "feedback-window", "ab-preference": "look"}
    assert metric["initialDelay"] == f"{{{{args.{delays.get(name, 'window')}}}}}"
    assert argo_metric.outcome(metric, "Failed") == ("Failed", 1)
    assert argo_metric.outcome(metric, "Error")[0] == "Error"
    assert argo_metric.outcome(metric, "Successful") == ("Successful", metric["count"])


@pytest.mark.parametrize("name", JOBS)
def test_jobs_tolerate_no_failure(name: str) -> None:
    for metric in ANALYSIS[name]["spec"]["metrics"]:
        job = metric["provider"]["job"]["spec"]
        assert (metric["failureLimit"], job["backoffLimit"]) == (0, 0)
        assert job["template"]["spec"]["restartPolicy"] == "Never"
        assert 0 < job["activeDeadlineSeconds"] <= 3600
        assert metric["consecutiveErrorLimit"] <= argo_metric.DEFAULT_CONSECUTIVE_ERRORS
        assert not {"successCondition", "failureCondition", "count", "interval"} & set(metric)


@pytest.mark.parametrize("name", ANALYSIS)
def test_arguments_are_declared_and_used(name: str) -> None:
    declared = {arg["name"] for arg in ANALYSIS[name]["spec"]["args"]}
    assert set(re.findall(r"\{\{args\.([\w-]+)\}\}", json.dumps(ANALYSIS[name]["spec"]["metrics"]))) == declared


# -- the component


def _loaded() -> list[Any]:
    """The analyses of the Rollout that run the load."""
    steps = _read(ROLLOUT)["spec"]["strategy"]["canary"]["steps"]
    return [
        step["analysis"] for step in steps if {"templateName": "load"} in step.get("analysis", {}).get("templates", ())
    ]


def test_with_monitoring_prometheus_judges_every_step_that_is_loaded() -> None:
    (component,) = _read(MONITORING / "kustomization.yaml")["patches"]
    assert component["target"] == {"kind": "AnalysisTemplate", "name": "load|load-distributed"}
    change, *longer = _read(MONITORING / component["path"])
    assert (change["op"], change["path"]) == ("add", "/spec/templates")
    named, given = longer  # the load lasts longer, and nothing else of it is changed
    assert (named["op"], named["path"], named["value"]) == ("test", "/spec/args/1/name", "duration")
    assert (given["op"], given["path"]) == ("replace", "/spec/args/1/value")
    names = ["load", *(one["templateName"] for one in change["value"])]
    assert set(names) == {"load", *PROMETHEUS} - SCORES
    assert _loaded()
    for analysis in _loaded():
        # Argo merges a template with those that it names; an argument that none of them declares is ignored
        # (argo-rollouts 1.9.1, utils/analysis/helpers.go: MergeArgs, flattenArgs).
        given = {
            arg["name"]: arg["valueFrom"]["podTemplateHashValue"] for arg in analysis["args"] if "valueFrom" in arg
        }
        assert given == {"canary-hash": "Latest", "stable-hash": "Stable"}, "copy `args` from the other load analyses"
        # Arguments of one name must agree, metrics need names of their own.
        values: dict[str, set[str]] = {}
        for name in names:
            for argument, value in argo_metric.defaults(ANALYSIS[name]).items():
                values.setdefault(argument, set()).add(value)
        assert {argument: found for argument, found in values.items() if len(found) > 1} == {}
        metrics = [metric["name"] for name in names for metric in ANALYSIS[name]["spec"]["metrics"]]
        assert len(set(metrics)) == len(metrics)
        declared = {arg["name"] for name in names for arg in ANALYSIS[name]["spec"]["args"]}
        assert declared == set(values) | set(given), "an argument without a value stops the rollout"


# -- names of metrics and labels


def _queries() -> dict[str, str]:
    """Place -> PromQL, of templates, alerts and dashboards."""
    found = {name: ANALYSIS[name]["spec"]["metrics"][0]["provider"]["prometheus"]["query"] for name in PROMETHEUS}
    for path in MONITORING.glob("prometheusrule*.yaml"):
        for group in _read(path)["spec"]["groups"]:
            found |= {rule["alert"]: rule["expr"] for rule in group["rules"]}
    for path in sorted(MONITORING.glob("dashboard*.json")):
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            found |= {f"{panel['title']} {one['refId']}": one["expr"] for one in panel["targets"]}
        found |= {one["name"]: one["expr"] for one in dashboard.get("annotations", {}).get("list", ())}
        found |= {
            f"{path.stem} {one['name']}": one["query"]
            for one in dashboard["templating"]["list"]
            if one["type"] == "query"
        }
    return found


def _labels_of_metrics() -> dict[str, set[str]]:
    """Series -> labels, as the registry of a service has them, and the exporters of what it stands on."""
    found: dict[str, set[str]] = {}
    for collector in ServiceMetrics("r-0123456789ab", lambda: 0).registry._collector_to_names:
        names = getattr(collector, "_labelnames", ())
        for metric in collector.describe() if hasattr(collector, "describe") else ():
            for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""]):
                found[metric.name + suffix] = {*names, *TARGET_LABELS}
    for exporter in _read(EXPORTERS):
        assert exporter["source"]
        for metric, labels in exporter["metrics"].items():
            assert metric not in found, metric
            found[metric] = {*labels, *exporter["labels"]}
    return found


@pytest.mark.parametrize(("place", "query"), _queries().items())
def test_metrics_and_labels_are_those_of_the_service_and_the_exporters(place: str, query: str) -> None:
    known = _labels_of_metrics()
    metric_name = r"(?:sluice|kube|kubelet|node|cnpg|pg|traefik|vllm|DCGM)[_:]\w+|up"
    used = re.findall(rf"(?<![\w:])({metric_name})\b(?:\{{([^}}]*(?:\}}\}}[^}}]*)*)\}})?", query)
    assert used, place
    labels: set[str] = set()
    for metric, selectors in used:
        assert metric in known, f"{place}: there is no {metric}"
        labels |= known[metric]
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors):
            assert label in known[metric], f"{place}: {metric} has no label {label}"
    for names in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query):
        for label in filter(None, names.split(",")):
            assert label.strip() in labels, f"{place}: no label {label}"
    assert set(re.findall(r'route="([^"]*)"', query)) <= {CHAT}


# -- Jobs


def _pods(name: str) -> list[Any]:
    return [one["provider"]["job"]["spec"]["template"]["spec"] for one in ANALYSIS[name]["spec"]["metrics"]]


def _containers(name: str) -> list[Any]:
    return [pod["containers"][0] for pod in _pods(name)]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_judges_by_what_the_release_pins(name: str) -> None:
    for pod in _pods(name):
        (fetching,), (judging,) = pod["initContainers"], pod["containers"]
        assert {fetching["image"], judging["image"]} == {LOAD}
        *words, into = fetching["args"][: fetching["args"].index("--only")]
        assert words == ["release", "fetch", f"/etc/sluice/release/{FILE}", "--into"]
        assert JUDGING in _fetched(fetching)
        mounts = {one["name"]: one for one in judging["volumeMounts"]}
        assert mounts["release"] == {"name": "release", "mountPath": into, "readOnly": True}
        told = {one["name"]: one.get("value") for one in judging["env"]}
        if name == "quality":
            assert f"--release={into}" in judging["args"]
            assert _fetched(fetching) == {JUDGING, "config"}, "it reads how the release declines"
        else:
            assert told["SLUICE_GATES"] == f"{into}/{JUDGING_GATES}"
            assert told["SLUICE_QUESTIONS"] == f"{into}/{JUDGING_CASES}"


def _fetched(fetching: Any) -> set[str]:
    return set(fetching["args"][fetching["args"].index("--only") + 1 :: 2])


@pytest.mark.parametrize("name", JOBS)
def test_a_job_runs_what_its_image_holds(name: str) -> None:
    text = (ROOT / "engine" / "Containerfile").read_text()
    (command,) = re.findall(r'^ENTRYPOINT \["(\w+)"\]$', text, re.MULTILINE)
    load = text.partition(" AS load\n")[2].partition("\nFROM ")[0]
    copied = dict(re.findall(r"^COPY (\w+) (\S+)$", load, re.MULTILINE))
    for container in _containers(name):
        if container.get("command", [command]) == ["locust"]:
            file = container["args"][container["args"].index("-f") + 1]
            folder, _, rest = file.partition("/")
            assert copied[folder] == f"{container['workingDir']}/{folder}"
            assert (ROOT / folder / rest).is_file()
        else:
            assert container["args"][0] in {info.name for info in app.registered_groups}
