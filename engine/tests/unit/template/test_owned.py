import subprocess
from pathlib import Path

import pytest

from sluice import cli
from sluice.core.errors import SluiceError
from sluice.template.owned import FILES, OWNED, edits, list_files, read_list
from unit.template.conftest import Fork, commit

METRIC = "engine/src/sluice/evaluation/metrics/digits.py"


@pytest.fixture
def fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fork:
    made = Fork(tmp_path)
    monkeypatch.chdir(made.root)
    return made


def check() -> str:
    try:
        cli.app(["engine", "check"], standalone_mode=False)
    except SluiceError as error:
        return str(error)
    return ""


def test_a_project_that_edits_nothing_passes(fork: Fork, capsys: pytest.CaptureFixture[str]) -> None:
    commit(fork.root, "Ours", {"prompts/two.prompt.yml": "name: two\n", ".github/workflows/own.yml": "name: own\n"})
    assert check() == ""
    assert capsys.readouterr().out == "no file of the engine was edited\n"


def test_each_kind_of_edit_is_named_with_what_to_use_instead(fork: Fork) -> None:
    (fork.root / METRIC).write_text("A = 2\n")
    (fork.root / "engine/k8s/base/service.yaml").unlink()
    (fork.root / "engine/src/sluice/serving").mkdir()
    (fork.root / "engine/src/sluice/serving/mine.py").write_text("")
    (fork.root / ".github/workflows/ci.yml").write_text("mine\n")
    said = check()
    assert "4 faults" in said
    assert f"{METRIC}: changed; write a metric in src/assistant/metrics/ with @metric" in said
    assert "engine/k8s/base/service.yaml: removed; patch it in k8s/overlays/" in said
    assert "engine/src/sluice/serving/mine.py: added; write an endpoint in src/assistant/routes.py" in said
    assert ".github/workflows/ci.yml: changed; write a workflow of your own beside it" in said


def test_the_lists_are_no_way_around(fork: Fork) -> None:
    (fork.root / METRIC).write_text("A = 2\n")
    text = (fork.root / OWNED).read_text()
    (fork.root / OWNED).write_text(text + "# mine\n")
    assert f"{OWNED}: changed" in check()
    assert f"{METRIC}: changed" in check(), "a project never writes them anew"
    (fork.root / FILES).write_text("mine\n")
    with pytest.raises(SluiceError, match=r"FILES:1: not a digest and a path"):
        read_list(fork.root, FILES)


def test_an_adopted_file_is_free_but_nothing_in_the_engine_is(fork: Fork, capsys: pytest.CaptureFixture[str]) -> None:
    project = fork.root / "config/project.yaml"
    project.write_text(project.read_text() + f"adopted: [Makefile, .github/workflows/ci.yml, {METRIC}]\n")
    (fork.root / "Makefile").write_text("mine:\n")
    (fork.root / ".github/workflows/ci.yml").unlink()
    assert check() == ""
    assert "Makefile: changed; this project has adopted it" in capsys.readouterr().out
    (fork.root / METRIC).write_text("A = 2\n")
    assert f"{METRIC}: changed" in check()


def test_lists_follow_edits(fork: Fork, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(fork.template.root)
    assert check() == ""
    (fork.template.root / METRIC).write_text("A = 2\n")
    assert check() == ""
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"wrote {FILES}")
    assert check() == ""
    assert edits(fork.template.root, list_files(fork.template.root)) == []


def test_sha256sum_reads_the_lists(fork: Fork) -> None:
    for name in (OWNED, FILES):
        done = subprocess.run(["sha256sum", "--check", "--quiet", name], cwd=fork.root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
