from __future__ import annotations

from pathlib import Path

from sluice.github.workflow_run import LIMIT, write_job_summary


def test_it_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    environment = {"GITHUB_STEP_SUMMARY": str(path)}
    assert write_job_summary("## One", environment) == "job summary written"
    assert write_job_summary("## Zwei\n", environment) == "job summary written"
    assert path.read_text() == "## One\n## Zwei\n"


def test_outside_of_actions_nothing_is_written() -> None:
    assert write_job_summary("## One", {}) == "no job summary: GITHUB_STEP_SUMMARY is not set"


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
