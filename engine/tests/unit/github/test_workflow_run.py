import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from sluice.core.errors import SluiceError
from sluice.github.workflow_run import LIMIT, without_commands, write_job_summary, write_outputs
from unit.github.conftest import Environment
from unit.github.fake_github import FakeGitHub

SHA = "a" * 40


def test_it_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    environment = {"GITHUB_STEP_SUMMARY": str(path)}
    assert write_job_summary("## One", environment) == "job summary written"
    assert write_job_summary("## Zwei\n", environment) == "job summary written"
    assert path.read_text() == "## One\n## Zwei\n"


def test_outside_of_actions_nothing_is_written() -> None:
    assert write_job_summary("## One", {}) == "no job summary: GITHUB_STEP_SUMMARY is not set"
    assert write_outputs({"a": "b"}, {}) == "no outputs: GITHUB_OUTPUT is not set"


def test_it_stays_below_github_s_limit(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    environment = {"GITHUB_STEP_SUMMARY": str(path)}
    assert "cut" in write_job_summary("ein läNGERER Satz\n" * 100_000, environment)
    assert path.stat().st_size <= LIMIT
    text = path.read_bytes().decode()
    assert text.endswith("ein läNGERER Satz\n\n\n_The rest did not fit; it is in the artifacts of the run._\n")
    path.write_bytes(b"x" * LIMIT)
    assert write_job_summary("more", environment) == "no job summary: earlier steps have filled it"
    assert path.stat().st_size == LIMIT


def test_outputs_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_text("before=1\n")
    said = write_outputs({"check-code": "true", "url": "https://x.invalid/?a=b"}, {"GITHUB_OUTPUT": str(path)})
    assert said == "2 outputs written"
    assert path.read_text() == "before=1\ncheck-code=true\nurl=https://x.invalid/?a=b\n"


@pytest.mark.parametrize(("name", "value"), [("a", "x\nb=y"), ("a", "x\rb=y"), ("a<<EOF", "x")])
def test_an_output_never_becomes_two(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "output"
    with pytest.raises(SluiceError, match="a value is one line"):
        write_outputs({"good": "1", name: value}, {"GITHUB_OUTPUT": str(path)})
    assert not path.exists()


@pytest.mark.parametrize("command", ["::set-output name=a::b", "  ::stop-commands::x", "x ##[error]y"])
def test_no_line_of_an_error_is_a_workflow_command(command: str) -> None:
    kept = without_commands(f"no release a\n{command}\nstd::vector")
    assert not any(line.lstrip().startswith("::") for line in kept.splitlines())
    assert "##[" not in kept
    assert "std::vector" in kept


@pytest.mark.parametrize(
    ("last", "passed"),
    [
        ([{"head_sha": SHA, "conclusion": "success"}], "true"),
        ([{"head_sha": SHA, "conclusion": "failure"}], "false"),
        ([{"head_sha": "b" * 40, "conclusion": "success"}], "false"),
        ([], "false"),
        (None, "false"),  # GitHub answers 404
    ],
)
def test_a_night_knows_whether_the_last_one_passed_on_its_commit(
    github: FakeGitHub, environment: Environment, tmp_path: Path, last: list[Any] | None, passed: str
) -> None:
    asked = "/actions/workflows/nightly.yml/runs"
    github.more = {} if last is None else {asked: {"workflow_runs": last}}
    words = f"-I -S {ROOT}/engine/scripts/ci.py passed --workflow nightly.yml"
    around = environment(GITHUB_SHA=SHA, GITHUB_REF_NAME="main", GITHUB_OUTPUT=str(tmp_path / "output"))
    subprocess.run([sys.executable, *words.split()], env=around, check=True)
    assert (tmp_path / "output").read_text() == f"passed={passed}\n"
