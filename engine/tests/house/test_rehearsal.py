from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.rehearsal import analysis_runs
from sluice.rehearsal.analysis_runs import JobFiles, JobTargets, run_load, run_quality
from sluice.release.manifest import JUDGING_CASES, JUDGING_GATES
from sluice.rollout.analysis_templates import TEMPLATES, parse_duration
from sluice.rollout.canary_plan import load_plan
from starter_files import GATES, ROLLOUT, ROOT
from support.kubernetes import argo_metric

ENGINE = ROOT / "engine" / "k8s"
QUESTIONS = ROOT / "data" / "eval.jsonl"
URLS = {"router-url": "http://127.0.0.1:1", "canary-url": "http://127.0.0.1:2", "stable-url": "http://127.0.0.1:3"}
TARGETS = JobTargets(router=URLS["router-url"], canary=URLS["canary-url"], stable=URLS["stable-url"])


def _template(name: str) -> Any:
    return yaml.safe_load((ENGINE / "analysis" / f"{name}.yaml").read_text())


def _container(name: str) -> dict[str, Any]:
    template = _template(name)
    declared = argo_metric.defaults(template)
    arguments = declared | {key: url for key, url in URLS.items() if key in declared}
    job = template["spec"]["metrics"][0]["provider"]["job"]["spec"]
    resolved: dict[str, Any] = argo_metric.resolve(job, arguments)["template"]["spec"]["containers"][0]
    return resolved


def _parameters(name: str) -> Any:
    return next(step.parameters for step in load_plan(ROLLOUT, ROOT).steps if step.template == name)


def _files(out: Path) -> JobFiles:
    return JobFiles(GATES, QUESTIONS, ROOT / "loadtest" / "locustfile.py", out)


class _Started(Exception):
    """In the place of a child process."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def run_job(name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **more: Any) -> int:
        seen.update(name=name, argv=list(argv), env=dict(env or {}), **more)
        raise _Started

    monkeypatch.setattr(analysis_runs, "run_job", run_job)
    return seen


def test_a_rehearsal_walks_every_step_of_the_cluster_and_knows_every_template() -> None:
    plan = load_plan(ROLLOUT, ROOT)
    steps = yaml.safe_load(ROLLOUT.read_text())["spec"]["strategy"]["canary"]["steps"]
    assert [step.kind for step in plan.steps] == [next(iter(step)) for step in steps]
    named = [step["analysis"]["templates"][0]["templateName"] for step in steps if "analysis" in step]
    assert [step.template for step in plan.steps if step.template] == named
    assert set(named) == set(TEMPLATES), "a template that no step runs is not rehearsed"


def test_the_comparison_of_a_rehearsal_is_the_command_of_the_job(tmp_path: Path, started: dict[str, Any]) -> None:
    with pytest.raises(_Started):
        run_quality(_parameters("quality"), TARGETS, _files(tmp_path), name="quality-1")
    program, *words = started["argv"]
    job = _container("quality")
    assert Path(program).name == "sluice"
    own = [word for word in words if word.partition("=")[0] in ("--questions", "--gates", "--out")]
    # The Job takes from the release that it has fetched what the rehearsal names by itself.
    assert [*(word for word in words if word not in own), "--release=/release"] == job["args"]
    assert own[:2] == [f"--questions={QUESTIONS}", f"--gates={GATES}"]
    deadline = _template("quality")["spec"]["metrics"][0]["provider"]["job"]["spec"]["activeDeadlineSeconds"]
    assert started["seconds"] == deadline


def test_the_load_of_a_rehearsal_is_the_load_of_the_job(tmp_path: Path, started: dict[str, Any]) -> None:
    with pytest.raises(_Started):
        run_load(_parameters("load"), TARGETS, _files(tmp_path), name="load-1")
    job = _container("load")
    theirs = {entry["name"]: entry["value"] for entry in job["env"] if "value" in entry}
    ours = started["env"]
    assert set(ours) == set(theirs)
    times = {"SLUICE_LOAD_DURATION", "SLUICE_LOAD_TIMEOUT"}
    paths = {"SLUICE_QUESTIONS", "SLUICE_GATES", "SLUICE_LOAD_OUT"}
    for name in set(ours) - times - paths:
        assert ours[name] == theirs[name], name
    for name in times:
        assert parse_duration(ours[name]) == parse_duration(theirs[name]), name
    # The Job reads them out of the release that it has fetched, which pins what the checkout had when it was made.
    pinned = {"SLUICE_GATES": (GATES, JUDGING_GATES), "SLUICE_QUESTIONS": (QUESTIONS, JUDGING_CASES)}
    for name, (here, there) in pinned.items():
        assert (Path(ours[name]), theirs[name]) == (here, f"/release/{there}")
    words = started["argv"]
    assert Path(words[words.index("-f") + 1]) == ROOT / job["args"][job["args"].index("-f") + 1]
    assert {"--headless", "--only-summary"} <= set(words) & set(job["args"])
