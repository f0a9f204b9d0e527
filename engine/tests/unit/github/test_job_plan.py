"""Which work a change needs: a table of cases, and everything wherever there is a doubt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.core.extras import extras
from sluice.github.job_plan import ENGINE, JOBS, REHEARSE, RULES, JobPlan, jobs_for, plan_change, plan_for, summary

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
        (["docs/images/release.svg"], set()),
        (["LICENSE"], set()),
        ([".github/ISSUE_TEMPLATE/bug.yml", ".github/pull_request_template.md", ".github/CODEOWNERS"], set()),
        ([".github/dependabot.yml", ".vscode/settings.json"], set()),
        ([".agents/skills/sluice/SKILL.md", ".devcontainer/devcontainer.json"], set()),
        # pages that tests of the engine read
        (["engine/docs/reference/metrics.md"], {ENGINE}),
        (["docs/hosted-models.md", "README.md"], {ENGINE}),
        # what answers depend on
        (["prompts/answer.prompt.yml"], {TEST, EVAL}),
        (["data.dvc", "dvc-store/files/md5/ab/cdef"], {TEST, EVAL}),
        (["pipelines/params.yaml"], {TEST, EVAL}),
        (["pipelines/dvc.yaml"], {TEST, ENGINE, EVAL}),
        # the cluster
        (["k8s/base/rollout.yaml"], {TEST, REHEARSE}),
        (["k8s/overlays/staging/kustomization.yaml"], {TEST, REHEARSE}),
        (["engine/k8s/components/mlflow/deployment.yaml", "README.md"], {TEST, ENGINE, REHEARSE}),
        (["engine/schemas/cluster/sources.yaml"], {TEST, ENGINE}),
        (["engine/schemas/prompt.schema.json"], {TEST, ENGINE}),
        (["loadtest/users/questions.py"], {TEST, REHEARSE}),
        # code that is not served
        (["tests/test_release.py", "notebooks/explore.ipynb"], {TEST}),
        (["engine/tests/unit/github/test_job_plan.py"], {TEST, ENGINE}),
        (["engine/benchmarks/soak.py"], {ENGINE}),
        (["engine/scripts/write_schemas.py"], {ENGINE}),
        (["engine/Containerfile"], {ENGINE}),
        # what a project owns, and may reach every answer
        (["config/gates.yaml"], OWN),
        (["src/assistant/app.py"], OWN),
        (["pyproject.toml"], OWN),
        # on doubt, everything
        (["engine/src/sluice/github/job_plan.py"], EVERYTHING),
        (["engine/requirements/dev.txt"], EVERYTHING),
        (["Makefile"], EVERYTHING),
        (["engine/scripts/setup.py"], EVERYTHING),
        (["engine/scripts/ci.py"], EVERYTHING),
        ([".github/workflows/ci.yml"], EVERYTHING),
        ([".github/actions/setup/action.yml"], EVERYTHING),
        ([".gitattributes"], EVERYTHING),
        ([".dvc/config"], EVERYTHING),
        (["a-new-folder/file"], EVERYTHING),
        (["docs"], EVERYTHING),
        (["documents/page.md"], EVERYTHING),
        (["engine/src/docs/page.md"], EVERYTHING),
        (["DOCS/page.md"], EVERYTHING),
        (["README.md", "unheard-of"], EVERYTHING),
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
    assert set(plan.reasons) == wanted
    planned = {job: "true" if job in wanted else "false" for job in JOBS}
    assert plan.outputs() == planned | {"parts": " ".join(extras())}


def test_every_rule_decides_about_some_path() -> None:
    shadowed = [
        pattern for place, (pattern, jobs) in enumerate(RULES) if jobs_for(pattern.replace("*", "x")) != RULES[place][1]
    ]
    assert not shadowed


def test_a_reason_names_a_path_and_how_many_more() -> None:
    plan = plan_for(["k8s/base/rollout.yaml", "engine/k8s/base/namespace.yaml", "README.md"])
    wanted = {
        CODE: "always",
        TEST: "k8s/base/rollout.yaml and 1 more",
        ENGINE: "engine/k8s/base/namespace.yaml",
        REHEARSE: "k8s/base/rollout.yaml and 1 more",
    }
    assert plan.reasons == {job: reason for job, reason in wanted.items() if job in JOBS}


def test_the_summary_says_what_runs_and_why() -> None:
    assert summary(plan_for(["README.md"])) == (
        "### What this change needs\n\n| job | runs | because of |\n|---|---|---|\n"
        "| `check` | `yes` | `always` |\n"
        + "".join(f"| `{job}` | `no` | `no path that it depends on` |\n" for job in JOBS[1:])
    )


def git(root: Path, *words: str) -> str:
    name = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(root), *name, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(root: Path, **files: str) -> str:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "x", "--allow-empty")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def start(tmp_path: Path) -> str:
    git(tmp_path, "init", "-q", "-b", "main")
    return commit(tmp_path, docs__page="1\n2\n3\n", prompts__a="a\nb\nc\n", src__code="code\n" * 9)


def asked(plan: JobPlan) -> set[str]:
    return set(plan.reasons) - {CODE}


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


def test_a_file_that_goes_counts(tmp_path: Path, start: str) -> None:
    (tmp_path / "prompts" / "a").unlink()
    commit(tmp_path)
    assert asked(plan_change(tmp_path, start)) == {TEST, EVAL}


@pytest.mark.parametrize("name", ["ä ö.md", 'quote".md', "$(touch pwn).md", "`id`.md", "new\nline.md", "tab\t.md"])
def test_names_of_files_are_taken_as_they_are(tmp_path: Path, start: str, name: str) -> None:
    (tmp_path / "docs" / name).write_text("x")
    (tmp_path / "prompts" / name).write_text("x")
    commit(tmp_path)
    plan = plan_change(tmp_path, start)
    assert asked(plan) == {TEST, EVAL}
    assert plan.reasons[EVAL] == f"prompts/{name}"
    assert len(summary(plan).splitlines()) == 4 + len(JOBS)


@pytest.mark.parametrize("base", ["f" * 40, "nowhere", "", "--all", "main:docs"])
def test_a_base_that_is_not_there_asks_for_everything(tmp_path: Path, start: str, base: str) -> None:
    commit(tmp_path, docs__page="edited")
    plan = plan_change(tmp_path, base)
    assert set(plan.reasons) == EVERYTHING, start
    assert f"no commit, branch or tag {base!r}" in plan.reasons[EVAL]


def test_a_history_that_was_cut_off_asks_for_everything(tmp_path: Path, start: str) -> None:
    git(tmp_path, "checkout", "-q", "--orphan", "alone")
    commit(tmp_path, docs__page="edited")
    assert set(plan_change(tmp_path, start).reasons) == EVERYTHING


def test_no_difference_asks_for_everything(tmp_path: Path, start: str) -> None:
    assert set(plan_change(tmp_path, start).reasons) == EVERYTHING


def test_a_person_can_ask_for_the_rehearsal(tmp_path: Path, start: str) -> None:
    commit(tmp_path, prompts__a="edited")
    assert asked(plan_change(tmp_path, start)) == {TEST, EVAL}
    plan = plan_change(tmp_path, start, rehearse=True)
    assert asked(plan) == {TEST, EVAL, REHEARSE}
    assert plan.reasons[REHEARSE] == "asked for"


SCRIPT = Path(__file__).resolve().parents[4] / "engine" / "scripts" / "ci.py"


def test_what_decides_needs_no_installation(tmp_path: Path) -> None:
    """`-I -S`: a Python that has the standard library and nothing else, as on a runner before `make setup`."""
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
