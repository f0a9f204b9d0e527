import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.cli import app
from sluice.cluster.manifests import parse, render
from sluice.cluster.release_overlay import LOAD
from sluice.release.gates import load_gates
from sluice.release.manifest import FILE, JUDGING, JUDGING_CASES, JUDGING_GATES
from sluice.rollout.analysis_templates import limits_of
from starter_files import GATES as STARTER_GATES
from starter_files import ROLLOUT, ROOT
from support.kubernetes import argo_metric

ENGINE = ROOT / "engine" / "k8s"
MONITORING = ENGINE / "components" / "monitoring"
ANALYSIS = {
    document["metadata"]["name"]: document
    for path in sorted((ENGINE / "analysis").glob("*.yaml"))
    if (document := yaml.safe_load(path.read_text()))["kind"] == "AnalysisTemplate"
}
PROMETHEUS = [name for name, one in ANALYSIS.items() if "prometheus" in one["spec"]["metrics"][0]["provider"]]
JOBS = sorted(set(ANALYSIS) - set(PROMETHEUS))
GATES = {gate.name.replace("_", "-"): gate for gate in load_gates(STARTER_GATES) if gate.stage == "analysis"}
SCORES = {"feedback-score", "ab-preference"}  # of users, in a step of their own
OPERATOR = {"at_least": ">=", "at_most": "<="}


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_the_limits_in_the_templates_are_those_of_the_gates() -> None:
    assert sorted(GATES) == sorted(PROMETHEUS), "each gate of the stage has a template, and each template a gate"
    for name, wanted in limits_of(list(GATES.values())).items():
        given = {arg: one for arg, one in argo_metric.defaults(ANALYSIS[name]).items() if arg.startswith(f"{name}-")}
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
    # A value between two conditions would be inconclusive: a pause, no abort.
    assert not {"failureCondition", "inconclusiveLimit"} & set(metric)
    assert (metric["failureLimit"], metric["count"] >= 2) == (0, True)
    # Before that it sees older traffic; of a group's scores there are none, since it had no visitors.
    delays = {"feedback-score": "feedback-window", "ab-preference": "look"}
    assert metric["initialDelay"] == f"{{{{args.{delays.get(name, 'window')}}}}}"


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


def test_with_monitoring_prometheus_judges_every_step_that_is_loaded() -> None:
    (component,) = _read(MONITORING / "kustomization.yaml")["patches"]
    assert component["target"] == {"kind": "AnalysisTemplate", "name": "load|load-distributed"}
    change, *longer = _read(MONITORING / component["path"])
    assert (change["op"], change["path"]) == ("add", "/spec/templates")
    # The load lasts longer, and nothing else of it is changed.
    assert [(one["op"], one["path"]) for one in longer] == [
        ("test", "/spec/args/1/name"),
        ("replace", "/spec/args/1/value"),
    ]
    names = ["load", *(one["templateName"] for one in change["value"])]
    assert set(names) == {"load", *PROMETHEUS} - SCORES
    # Argo merges a template with those that it names; an argument that none of them declares is ignored, those of one
    # name must agree, and metrics need names of their own (argo-rollouts 1.9.1, utils/analysis/helpers.go: MergeArgs).
    values: dict[str, set[str]] = {}
    for name in names:
        for argument, value in argo_metric.defaults(ANALYSIS[name]).items():
            values.setdefault(argument, set()).add(value)
    assert {argument: found for argument, found in values.items() if len(found) > 1} == {}
    metrics = [metric["name"] for name in names for metric in ANALYSIS[name]["spec"]["metrics"]]
    assert len(set(metrics)) == len(metrics)
    declared = {arg["name"] for name in names for arg in ANALYSIS[name]["spec"]["args"]}
    steps = _read(ROLLOUT)["spec"]["strategy"]["canary"]["steps"]
    analyses = [step["analysis"] for step in steps if "analysis" in step]
    loaded = [one for one in analyses if {"templateName": "load"} in one["templates"]]
    assert loaded
    for analysis in loaded:
        given = {
            arg["name"]: arg["valueFrom"]["podTemplateHashValue"] for arg in analysis["args"] if "valueFrom" in arg
        }
        assert given == {"canary-hash": "Latest", "stable-hash": "Stable"}, "copy `args` from the other load analyses"
        assert declared == set(values) | set(given), "an argument without a value stops the rollout"


def _pods(name: str) -> list[Any]:
    return [one["provider"]["job"]["spec"]["template"]["spec"] for one in ANALYSIS[name]["spec"]["metrics"]]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_judges_by_what_the_release_pins(name: str) -> None:
    for pod in _pods(name):
        (fetching,), (judging,) = pod["initContainers"], pod["containers"]
        assert {fetching["image"], judging["image"]} == {LOAD}
        only = fetching["args"].index("--only")
        *words, into = fetching["args"][:only]
        assert words == ["release", "fetch", f"/etc/sluice/release/{FILE}", "--into"]
        assert JUDGING in fetching["args"][only + 1 :: 2]
        mounts = {one["name"]: one for one in judging["volumeMounts"]}
        assert mounts["release"] == {"name": "release", "mountPath": into, "readOnly": True}
        told = {one["name"]: one.get("value") for one in judging["env"]}
        if name == "quality":
            assert f"--release={into}" in judging["args"]
        else:
            assert told["SLUICE_GATES"] == f"{into}/{JUDGING_GATES}"
            assert told["SLUICE_QUESTIONS"] == f"{into}/{JUDGING_CASES}"


@pytest.mark.parametrize("name", JOBS)
def test_a_job_runs_what_its_image_holds(name: str) -> None:
    text = (ROOT / "engine" / "Containerfile").read_text()
    (command,) = re.findall(r'^ENTRYPOINT \["(\w+)"\]$', text, re.MULTILINE)
    load = text.partition(" AS load\n")[2].partition("\nFROM ")[0]
    copied = dict(re.findall(r"^COPY (\w+) (\S+)$", load, re.MULTILINE))
    for container in (pod["containers"][0] for pod in _pods(name)):
        if container.get("command", [command]) == ["locust"]:
            file = container["args"][container["args"].index("-f") + 1]
            folder, _, rest = file.partition("/")
            assert copied[folder] == f"{container['workingDir']}/{folder}"
            assert (ROOT / folder / rest).is_file()
        else:
            assert container["args"][0] in {info.name for info in app.registered_groups}
