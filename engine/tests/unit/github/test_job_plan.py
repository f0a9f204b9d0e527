"""Jobs that a change needs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.core.extras import extras
from sluice.github.job_plan import (
    ENGINE,
    JOBS,
    REHEARSE,
    JobPlan,
    judge,
    outputs,
    plan_change,
    plan_for,
    required_summary,
    summary,
)
from support.git import commit_all, git

CODE = "check"
TEST, EVAL = "test", "eval"
MODEL_WORK = {TEST, EVAL, REHEARSE}
EVERYTHING = set(JOBS)
OWN = EVERYTHING - {ENGINE}


@pytest.mark.parametrize(
    ("paths", "jobs"),
    [
        # documentation: no model work
        (["docs/cluster.md", "README.md", "AGENTS.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"], set()),
        # pages that tests of the engine read
        (["engine/docs/reference/metrics.md"], {ENGINE}),
        (["docs/hosted-models.md", "README.md"], {ENGINE}),
        # what answers depend on
        (["prompts/answer.prompt.yml"], {TEST, EVAL}),
        (["data.dvc", "dvc-store/files/md5/ab/cdef"], {TEST, EVAL}),
        (["pipelines/dvc.yaml"], {TEST, ENGINE, EVAL}),
        # the cluster
        (["k8s/base/rollout.yaml"], {TEST, REHEARSE}),
        (["engine/k8s/components/mlflow/deployment.yaml", "README.md"], {TEST, ENGINE, REHEARSE}),
        (["loadtest/users/questions.py"], {TEST, REHEARSE}),
        # code that is not served
        (["tests/test_release.py", "notebooks/explore.ipynb"], {TEST}),
        (["engine/tests/unit/github/test_job_plan.py"], {TEST, ENGINE}),
        # what a project owns, and may reach every answer
        (["config/gates.yaml"], OWN),
        # on doubt, everything
        (["engine/src/sluice/github/job_plan.py"], EVERYTHING),
        ([".github/workflows/ci.yml"], EVERYTHING),
        (["a-new-folder/file"], EVERYTHING),
        (["DOCS/page.md"], EVERYTHING),
        ([], EVERYTHING),
        # one change of several kinds needs the work of all
        (
            ["README.md", "prompts/judge.prompt.yml", "engine/k8s/analysis/load.yaml"],
            {*MODEL_WORK, ENGINE},
        ),
    ],
    ids=lambda value: "+".join(value) or "none" if isinstance(value, list) else "",
)
def test_what_a_change_of_these_paths_needs(paths: list[str], jobs: set[str]) -> None:
    plan = plan_for(paths)
    wanted = jobs | {CODE}
    assert set(plan) == wanted
    planned = {job: "true" if job in wanted else "false" for job in JOBS}
    assert outputs(plan) == planned | {"parts": " ".join(extras())}


def commit(root: Path, **files: str) -> str:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return commit_all(root)


@pytest.fixture
def start(tmp_path: Path) -> str:
    git(tmp_path, "init", "-q", "-b", "main")
    return commit(tmp_path, docs__page="1\n2\n3\n", prompts__a="a\nb\nc\n", src__code="code\n" * 9)


def asked(plan: JobPlan) -> set[str]:
    return set(plan) - {CODE}


def test_the_paths_are_those_since_the_change_left_its_base(tmp_path: Path, start: str) -> None:
    git(tmp_path, "checkout", "-q", "-b", "mine")
    commit(tmp_path, docs__page="edited")
    git(tmp_path, "checkout", "-q", "main")
    base = commit(tmp_path, src__code="edited on main")
    git(tmp_path, "checkout", "-q", "mine")
    assert asked(plan_change(tmp_path, base)) == set()
    assert asked(plan_change(tmp_path, start)) == set()


def test_a_file_that_moves_into_the_pages_was_code_before(tmp_path: Path, start: str) -> None:
    git(tmp_path, "mv", "src/code", "docs/code")
    commit(tmp_path)
    assert asked(plan_change(tmp_path, start)) == OWN - {CODE}


@pytest.mark.parametrize("name", ["ä $(touch pwn).md", "new\nline.md"])
def test_names_of_files_are_taken_as_they_are(tmp_path: Path, start: str, name: str) -> None:
    (tmp_path / "docs" / name).write_text("x")
    (tmp_path / "prompts" / name).write_text("x")
    commit(tmp_path)
    plan = plan_change(tmp_path, start)
    assert asked(plan) == {TEST, EVAL}
    assert plan[EVAL] == f"prompts/{name}"
    assert len(summary(plan).splitlines()) == 4 + len(JOBS)


@pytest.mark.parametrize("base", ["f" * 40, "--all"])
def test_a_base_that_is_not_there_asks_for_everything(tmp_path: Path, start: str, base: str) -> None:
    commit(tmp_path, docs__page="edited")
    plan = plan_change(tmp_path, base)
    assert set(plan) == EVERYTHING, start
    assert f"no commit, branch or tag {base!r}" in plan[EVAL]


def test_a_person_can_ask_for_the_rehearsal(tmp_path: Path, start: str) -> None:
    commit(tmp_path, prompts__a="edited")
    assert asked(plan_change(tmp_path, start)) == {TEST, EVAL}
    plan = plan_change(tmp_path, start, rehearse=True)
    assert asked(plan) == {TEST, EVAL, REHEARSE}
    assert plan[REHEARSE] == "asked for"


SCRIPT = Path(__file__).resolve().parents[4] / "engine" / "scripts" / "ci.py"


def test_what_decides_needs_no_installation(tmp_path: Path) -> None:
    output, page = tmp_path / "output", tmp_path / "summary"
    environment = {"PATH": os.environ["PATH"], "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(page)}

    def ci(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-I", "-S", "-B", str(SCRIPT), *words]
        return subprocess.run(call, env=environment | more, capture_output=True, text=True, check=False)

    assert ci("plan", "--base", "nowhere").returncode == 0
    assert dict(line.split("=") for line in output.read_text().splitlines()) == dict.fromkeys(JOBS, "true") | {
        "parts": " ".join(extras())
    }
    needs = {job: {"result": "success", "outputs": {}} for job in JOBS}
    needs["plan"] = {"result": "success", "outputs": dict.fromkeys(JOBS, "true")}
    assert ci("required", NEEDS=json.dumps(needs)).returncode == 0
    refused = ci("required", NEEDS=json.dumps(needs | {EVAL: {"result": "cancelled"}}))
    assert (refused.returncode, refused.stderr) == (1, f"error: {EVAL}: cancelled: it has to succeed\n")
    assert ci("required").returncode == 1
    assert ci("say", "A line.").returncode == 0
    assert page.read_text().endswith("\nA line.\n")


def needs(*, planned: dict[str, Any] | None = None, plan: str = "success", **results: str | None) -> str:
    outputs = dict.fromkeys(JOBS, "true") | (planned or {})
    found = dict.fromkeys(JOBS, "success") | {name.replace("_", "-"): result for name, result in results.items()}
    jobs = {job: {"result": result, "outputs": {}} for job, result in found.items() if result is not None}
    return json.dumps({"plan": {"result": plan, "outputs": outputs}, **jobs})


def faults(text: str) -> dict[str, str]:
    return {one.job: one.fault for one in judge(text) if one.fault}


def test_success_and_a_skip_that_the_plan_asked_for_pass() -> None:
    assert faults(needs()) == {}
    text = needs(planned={"eval": "false"}, eval="skipped")
    assert faults(text) == {}
    assert "| `eval` | `skipped` | `not needed` |" in required_summary(judge(text))
    waiting = {**json.loads(needs(rehearse="skipped")), "eval": {"result": "success", "outputs": {"waiting": "true"}}}
    assert faults(json.dumps(waiting)) == {}


@pytest.mark.parametrize(("result", "planned"), [("failure", "true"), ("cancelled", "false"), ("", "true")])
def test_anything_but_success_fails(result: str, planned: str) -> None:
    assert faults(needs(planned={"test": planned}, test=result)) == {"test": "it has to succeed"}
    assert faults(needs(eval="skipped")) == {"eval": "the plan asked for it"}


@pytest.mark.parametrize("word", ["", "False", None])
def test_a_skip_needs_the_very_word(word: Any) -> None:
    found = faults(needs(planned={"eval": word}, eval="skipped"))
    assert found["plan"] == "it says neither true nor false for eval"
    assert found["eval"] == "no plan allows to skip it"


def test_a_skip_of_a_job_that_no_plan_knows_and_a_planned_job_that_is_not_waited_for_fail() -> None:
    assert faults(needs(extra="skipped")) == {"extra": "no plan allows to skip it"}
    assert faults(needs(extra="success")) == {}
    assert faults(needs(rehearse=None)) == {"rehearse": "it is planned, but not under `needs:`"}


def test_without_a_plan_nothing_passes() -> None:
    text = json.dumps({"plan": {"result": "failure", "outputs": {}}} | {job: {"result": "skipped"} for job in JOBS})
    assert set(faults(text)) == {"plan", *JOBS}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "NEEDS: "),
        ('{"plan": 1}', "not an object"),
        ("{}", "no job"),
        ('{"test": {}}', "no job `plan`"),
    ],
)
def test_what_is_no_context_is_an_error(text: str, words: str) -> None:
    with pytest.raises(SluiceError, match=words):
        judge(text)
