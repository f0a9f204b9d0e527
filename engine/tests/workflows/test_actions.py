"""What the workflows rely on in the actions of others: asked of those that are played, and of the real ones where
SLUICE_ACTIONS names them. The same answers hold for both."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy.files import Repository
from policy.pins import ledger
from workflows.act import HERE, Run
from workflows.real_actions import VARIABLE
from workflows.scratch import ROOT, pull_request
from workflows.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

SIGN_IN = "aws-actions/configure-aws-credentials"
MADE = """\
mkdir -p made/one/deep made/.hidden .dvc/cache .sluice/responses
echo report > made/one/report.html
echo deep > made/one/deep/file
echo hidden > made/.hidden/file
echo kept > .dvc/cache/file
echo answer > .sluice/responses/file
"""


def step(action: str, called: str = "", /, **given: Any) -> dict[str, Any]:
    """A step with an action of the ledger; it fails without failing its job."""
    commits = {row: commit for row, commit, _ in ledger(Repository.read(ROOT))}
    made = {
        "uses": f"{action}@{commits.get(action, '0' * 40)}",  # a project may have left out what uses it
        "with": {key.replace("_", "-"): value for key, value in given.items()},
    }
    return {**({"id": called} if called else {}), "continue-on-error": True, **made}


def shell(*lines: str) -> dict[str, Any]:
    return {"run": "\n".join(lines)}


# Says how the steps before it ended, and what they put out.
TOLD = {"run": 'echo "steps=$(printf %s "$STEPS" | tr -d "\\n")"', "env": {"STEPS": "${{ toJSON(steps) }}"}}


def answers(run: Run) -> dict[str, Any]:
    said = [line.removeprefix("steps=") for job in run.jobs.values() for line in job.log.splitlines()]
    found: dict[str, Any] = {}
    for line in said:
        if line.startswith("{"):
            found |= json.loads(line)
    return found


UPLOADS = (
    shell(MADE),
    step("actions/upload-artifact", "wild", name="wild", path="made/*/report.html"),
    step("actions/upload-artifact", "both", name="both", path="made/one/deep\nmade/one/gone"),
    step("actions/upload-artifact", "two", name="two", path="made"),
    step("actions/upload-artifact", "shy", name="shy", path="made"),
    step("actions/upload-artifact", "whole", name="whole", path="made", include_hidden_files=True),
    step("actions/upload-artifact", "raw", path="made/one/report.html", archive=False, name="another"),
    step("actions/upload-artifact", "again", path="made/one/report.html", archive=False, overwrite=True),
    step(
        "actions/upload-artifact",
        "anew",
        path="made/one/report.html",
        archive=False,
        overwrite=True,
        name="report.html",
    ),
    step("actions/upload-artifact", "same", name="two", path="made/one"),
    step("actions/upload-artifact", "over", name="two", path="made/one/deep", overwrite=True),
    step("actions/upload-artifact", "none", name="none", path="nowhere", if_no_files_found="ignore"),
    step("actions/upload-artifact", "error", name="none", path="nowhere", if_no_files_found="error"),
    step("actions/download-artifact", "back", name="whole", path="brought"),
    step("actions/download-artifact", "gone", name="gone", path="brought"),
    shell("test -f brought/.hidden/file -a -f brought/one/deep/file"),
    TOLD,
)
BOTH, ONE = ".dvc/cache\n.sluice/responses", ".sluice/responses"
SAVES = (
    shell(MADE),
    step("actions/cache/restore", "cold", path=BOTH, key="eval-1-1", restore_keys="eval-"),
    step("actions/cache/save", "first", path=BOTH, key="eval-1-1"),
    step("actions/cache/save", "second", path=BOTH, key="eval-1-1"),
    step("actions/cache/save", "nothing", path="nowhere", key="eval-1-2"),
    shell("rm -rf .dvc/cache .sluice/responses"),
    step("actions/cache/restore", "near", path=BOTH, key="eval-2-1", restore_keys="answers-\neval-"),
    shell("test -f .dvc/cache/file -a -f .sluice/responses/file"),
    step("actions/cache/restore", "exact", path=BOTH, key="eval-1-1"),
    step("actions/cache/restore", "other", path=ONE, key="eval-1-1", restore_keys="eval-"),
    TOLD,
)
ROLE = {"role_to_assume": "arn:aws:iam::000000000000:role/a", "aws_region": "eu-west-1"}
SEEN = 'echo "seen $WHEN ${AWS_SECRET_ACCESS_KEY:+secret} ${AWS_REGION:-nowhere}"'
SIGN_INS = (
    step(SIGN_IN, "handed", **ROLE, output_credentials=True, output_env_credentials=False),
    {"run": SEEN, "env": {"WHEN": "handed"}},
    step(SIGN_IN, "whole", **ROLE, role_duration_seconds=7200),
    {"run": SEEN, "env": {"WHEN": "whole"}},
    {"run": 'echo "same ${#KEY}"', "env": {"KEY": "${{ steps.handed.outputs.aws-secret-access-key }}"}},
)


@pytest.fixture(scope="module")
def run(bare: World) -> Run:
    """A workflow with one job for each kind of action."""
    jobs = {
        name: {"runs-on": "ubuntu-24.04", "steps": [step("actions/checkout"), *steps]}
        for name, steps in (("artifacts", UPLOADS), ("caches", SAVES), ("sign-in", SIGN_INS))
    }
    bare.scratch.branch("actions")
    written = yaml.safe_dump({"name": "ci", "on": "pull_request", "jobs": jobs}, width=1000)
    bare.scratch.write(".github/workflows/ci.yml", written)
    bare.scratch.commit("Questions")
    caches = {"PLAYED_CACHES": str(bare.runner.place / "played-caches")}
    return bare._run("ci.yml", "pull_request", pull_request(bare.scratch), number=570, **caches)


def names(bare: World, artifact: str) -> list[str]:
    folder = bare.artifact(artifact, run=570)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_is_uploaded_keeps_the_folders_below_its_pattern(bare: World, run: Run) -> None:
    assert run.status == 0
    assert names(bare, "wild") == ["one/report.html"]
    assert names(bare, "both") == ["deep/file"]
    assert names(bare, "two") == ["file"], "with what it was overwritten"
    assert names(bare, "shy") == ["one/deep/file", "one/report.html"]
    assert names(bare, "whole") == [".hidden/file", "one/deep/file", "one/report.html"]
    assert names(bare, "report.html") == ["report.html"]
    assert not bare.artifact("another", run=570).exists()


def test_an_artifact_that_is_there_is_refused_and_overwrite_looks_for_what_name_says(run: Run) -> None:
    ended = {name: found["outcome"] for name, found in answers(run).items()}
    assert (ended["same"], ended["over"]) == ("failure", "success")
    assert (ended["raw"], ended["again"], ended["anew"]) == ("success", "failure", "success")
    assert (ended["none"], ended["error"]) == ("success", "failure")
    assert (ended["back"], ended["gone"]) == ("success", "failure")


def test_a_cache_is_found_by_its_key_or_a_beginning_and_by_its_paths(run: Run) -> None:
    found = answers(run)
    hits = {name: found[name]["outputs"].get("cache-hit", "") for name in ("cold", "near", "exact", "other")}
    assert hits == {"cold": "", "near": "false", "exact": "true", "other": ""}
    assert found["near"]["outputs"]["cache-primary-key"] == "eval-2-1"
    assert {found[name]["outcome"] for name in ("first", "second", "nothing")} == {"success"}


def test_credentials_are_in_the_variables_or_in_the_outputs_alone(bare: World, run: Run) -> None:
    log = run.job("sign-in").log.splitlines()
    assert [line for line in log if line.startswith("seen ")] == ["seen handed  nowhere", "seen whole secret eu-west-1"]
    assert f"same {len('played-secret-access-key')}" in log
    assert "played-secret-access-key" not in run.log
    assert bare.kept("assumed") == [ROLE["role_to_assume"]] * 2


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names no folder with the code of actions")
def test_what_is_recorded_of_an_action_is_what_it_says() -> None:
    compared = 0
    for name, known in yaml.safe_load((HERE / "actions" / "recorded.yml").read_text()).items():
        path = Path(os.environ[VARIABLE], name, "action.yml")
        if path.exists():
            said = yaml.safe_load(path.read_text())
            assert (known["inputs"], known["outputs"]) == (sorted(said["inputs"]), sorted(said.get("outputs", {}))), (
                name
            )
            compared += 1
    assert compared > 0
