"""Which work a change needs: a table of cases, and everything wherever there is a doubt."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sluice.github.job_plan import JOBS, RULES, JobPlan, jobs_for, plan_change, plan_for, summary

CODE = "check-code"
TEST, ENGINE, PROMPTS, EVAL, MANIFESTS, REHEARSE = JOBS[1:]
MODEL_WORK = {TEST, PROMPTS, EVAL, REHEARSE}
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
        # pages that tests of the engine read
        (["engine/docs/reference/metrics.md"], {ENGINE}),
        (["docs/hosted-models.md", "README.md"], {ENGINE}),
        # what answers depend on
        (["prompts/answer.prompt.yml"], {TEST, PROMPTS, EVAL, REHEARSE}),
        (["data.dvc", "dvc-store/files/md5/ab/cdef"], {TEST, EVAL, REHEARSE}),
        (["pipelines/params.yaml"], {TEST, EVAL, REHEARSE}),
        (["pipelines/dvc.yaml"], {TEST, ENGINE, EVAL, REHEARSE}),
        # the cluster
        (["k8s/base/rollout.yaml"], {TEST, MANIFESTS, REHEARSE}),
        (["k8s/overlays/staging/kustomization.yaml"], {TEST, MANIFESTS}),
        (["engine/k8s/components/mlflow/deployment.yaml", "README.md"], {TEST, ENGINE, MANIFESTS}),
        (["engine/schemas/cluster/sources.yaml"], {TEST, ENGINE, MANIFESTS}),
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
            {*MODEL_WORK, MANIFESTS, ENGINE},
        ),
    ],
    ids=lambda value: "+".join(value) or "none" if isinstance(value, list) else "",
)
def test_what_a_change_of_these_paths_needs(paths: list[str], jobs: set[str]) -> None:
    plan = plan_for(paths)
    assert set(plan.reasons) == jobs | {CODE}
    assert plan.outputs() == {job: "true" if job in jobs | {CODE} else "false" for job in JOBS}


def test_every_rule_decides_about_some_path() -> None:
    shadowed = [
        pattern for place, (pattern, jobs) in enumerate(RULES) if jobs_for(pattern.replace("*", "x")) != RULES[place][1]
    ]
    assert not shadowed


def test_a_reason_names_a_path_and_how_many_more() -> None:
    plan = plan_for(["k8s/base/rollout.yaml", "engine/k8s/base/namespace.yaml", "README.md"])
    assert plan.reasons == {
        CODE: "always",
        TEST: "k8s/base/rollout.yaml and 1 more",
        ENGINE: "engine/k8s/base/namespace.yaml",
        MANIFESTS: "k8s/base/rollout.yaml and 1 more",
        REHEARSE: "k8s/base/rollout.yaml and 1 more",
    }


def test_what_cannot_be_done_here_is_left_out_with_its_reason() -> None:
    plan = plan_for(["prompts/answer.prompt.yml"]).omit(REHEARSE, "A_KEY not set").omit(MANIFESTS, "never asked for")
    assert not plan.asks_for(REHEARSE)
    assert plan.omitted == {REHEARSE: "A_KEY not set"}
    assert f"| `{REHEARSE}` | `no` | `A_KEY not set` |" in summary(plan)


def test_the_summary_says_what_runs_and_why() -> None:
    assert summary(plan_for(["README.md"])) == (
        "### What this change needs\n\n| job | runs | because of |\n|---|---|---|\n"
        "| `check-code` | `yes` | `always` |\n"
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
    assert asked(plan_change(tmp_path, start)) == {TEST, PROMPTS, EVAL, REHEARSE}


@pytest.mark.parametrize("name", ["ä ö.md", 'quote".md', "$(touch pwn).md", "`id`.md", "new\nline.md", "tab\t.md"])
def test_names_of_files_are_taken_as_they_are(tmp_path: Path, start: str, name: str) -> None:
    (tmp_path / "docs" / name).write_text("x")
    (tmp_path / "prompts" / name).write_text("x")
    commit(tmp_path)
    plan = plan_change(tmp_path, start)
    assert asked(plan) == {TEST, PROMPTS, EVAL, REHEARSE}
    assert plan.reasons[PROMPTS] == f"prompts/{name}"
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
