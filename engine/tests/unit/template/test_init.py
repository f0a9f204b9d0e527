"""`init`: in a small repository every rule, and in a clone of this one the real thing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.template.init import Plan, apply, plan, require_clean
from sluice.template.names import Names, load_record
from unit.template.conftest import ROOT, commit, git, make_template

OLD = "wei" + "r"
NEW = {"name": "zephyr-desk", "organisation": "acme-labs", "image": "ghcr.io/acme-labs/zephyr-desk"}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return make_template(tmp_path / "small")


def planned(root: Path, *, starter_data: bool = True, **changes: object) -> Plan:
    record = load_record(root)
    names = Names.model_validate({**dict(record.names), **changes})
    return plan(root, record, names, starter_data=starter_data)


def test_a_plan_writes_nothing(small: Path) -> None:
    found = {change.old: change.new for change in planned(small, **NEW).changes}
    assert found[f"src/{OLD}/core.py"] == "src/zephyr_desk/core.py"
    assert found[f"engine/k8s/base/policy-{OLD}.yaml"] == "engine/k8s/base/policy-zephyr-desk.yaml"
    assert found["README.md"] == "README.md"
    assert "CHANGELOG.md" not in found
    assert git(small, "status", "--porcelain") == ""


def test_everything_is_renamed_staged_and_undone_by_git(small: Path) -> None:
    before = git(small, "write-tree")
    left = apply(small, planned(small, **NEW, environments=["uat", "actual"]))
    assert [line.split(":")[0] for line in left] == [
        f"scripts/write_{name}.py" for name in ("schemas", "golden_manifests", "workflow_reference", "cli_reference")
    ], "what has no script here is said to be left over"
    assert not (small / "src" / OLD).exists()
    assert (small / "src/zephyr_desk/app.py").read_text().splitlines()[2] == "from zephyr_desk.core import LONG"
    assert (small / "k8s/overlays/uat/kustomization.yaml").read_text() == "namespace: zephyr-desk-uat\n"
    assert 'ignore = ["E501", "B008"]' in (small / "pyproject.toml").read_text(), "a message got too long to break"
    assert (small / "CHANGELOG.md").read_text() == f"- `{OLD} serve` is new.\n"
    assert (small / "dvc-store/files/ab").read_text() == f"{OLD}\n"
    assert load_record(small).template.names.name == OLD
    assert git(small, "diff", "--name-only") == git(small, "ls-files", "--others") == ""
    git(small, "reset", "--quiet", "--hard")
    assert git(small, "write-tree") == before
    assert git(small, "status", "--porcelain", "--ignored") == ""


def test_a_second_time_changes_nothing_and_other_names_later_are_no_different(small: Path) -> None:
    before = git(small, "rev-parse", "HEAD^{tree}")
    apply(small, planned(small, **NEW))
    git(small, "commit", "--quiet", "--message", "Names")
    assert planned(small, **NEW).empty
    assert planned(small).empty
    back = dict(load_record(small).template.names)
    apply(small, planned(small, **back))
    changed = git(small, "diff", "--cached", "--name-only", before).splitlines()
    assert changed == ["pyproject.toml"], "only the line length that the linter lets be"


def test_starter_data_go_and_stay_gone(small: Path) -> None:
    gone = planned(small, starter_data=False)
    assert gone.removed == ["data.dvc", "dvc-store/files/ab"]
    apply(small, gone)
    assert not (small / "dvc-store").exists()
    assert "dvc" not in (small / "README.md").read_text()
    git(small, "commit", "--quiet", "--message", "Own data")
    assert load_record(small).starter_data is False
    commit(small, "Own data", **{"data.dvc": "outs: [mine]\n"})
    assert planned(small, starter_data=False).empty, "what is there now is not the starter data"


def test_private_state_is_never_staged(small: Path) -> None:
    """`.gitignore` names the state by the name of the repository, which changes."""
    commit(small, "Ignore", **{".gitignore": f".{OLD}/\n"})
    (small / f".{OLD}").mkdir()
    (small / f".{OLD}" / "keys.json").write_text("private")
    apply(small, planned(small, **NEW))
    assert (small / f".{OLD}" / "keys.json").read_text() == "private"
    assert "keys.json" not in git(small, "ls-files")
    git(small, "commit", "--quiet", "--message", "Names")
    require_clean(small)


def test_what_is_no_text_moves_with_its_folder(small: Path) -> None:
    (small / "src" / OLD / "font.bin").write_bytes(b"\0\1" + OLD.encode())
    (small / "src" / OLD / "link.py").symlink_to("core.py")
    commit(small, "A font")
    apply(small, planned(small, **NEW))
    assert (small / "src/zephyr_desk/font.bin").read_bytes() == b"\0\1" + OLD.encode()
    assert (small / "src/zephyr_desk/link.py").is_symlink()
    assert not (small / "src" / OLD).exists()


@pytest.mark.parametrize("file", ["notes.md", "new.txt"])
def test_what_git_could_not_bring_back_is_not_touched(small: Path, file: str) -> None:
    (small / file).write_text("precious")
    with pytest.raises(SluiceError, match="git reset --hard"):
        require_clean(small)


def test_a_name_that_is_in_use_is_refused(small: Path) -> None:
    commit(small, "Notes", **{"notes.md": "the zephyr-desk of others"})
    with pytest.raises(SluiceError, match=r"--name zephyr-desk: .*notes\.md"):
        planned(small, **NEW)


def call(root: Path, package: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line of a checkout, by the code in it."""
    argv = [sys.executable, "-c", f"import sys; from {package}.cli import main; sys.exit(main())", *words]
    return run(root, *argv)


def run(root: Path, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root / 'tests'}"}
    return subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=900)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's last commit under other names, staged."""
    folder = tmp_path_factory.mktemp("fork") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    done = call(folder, load_record(folder).names.package, "init", *WORDS)
    assert done.returncode == 0, done.stderr
    assert "staged, not committed" in done.stdout
    assert "not done" not in done.stdout
    return folder


# Spelt in parts: a name that stands in any file of the repository, such as this one, is refused.
NAME, FIRST, SECOND = ("-".join(parts) for parts in (("quarry", "desk"), ("ring", "one"), ("ring", "two")))
PACKAGE = NAME.replace("-", "_")
WORDS = ("--name", NAME, "--organisation", "acme-labs", "--region", "ap-south-2")
WORDS += ("--environments", f"{FIRST},{SECOND}")
# Quick ones that between them meet every form of the name: code, settings, metrics, manifests, command line, docs.
TESTS = (
    "engine/tests/unit/core",
    "engine/tests/unit/prompts",
    "engine/tests/unit/serving/test_metrics.py",
    "engine/tests/unit/serving/telemetry/test_settings.py",
    "engine/tests/unit/rollout/test_released.py",
    "engine/tests/unit/github/test_comment.py",
    "engine/tests/unit/test_cli.py",
    "engine/tests/unit/template/test_names.py",
    "engine/tests/unit/template/test_upgrade.py",
    "engine/tests/unit/extras/doctor/test_github.py",
    "engine/tests/contract/test_help.py",
    "engine/tests/contract/test_layers.py",
    "engine/tests/contract/test_make.py",
    "engine/tests/contract/test_manifests.py",
    "engine/tests/contract/test_manifest_typos.py",
    "engine/tests/contract/test_telemetry_page.py",
    "engine/tests/contract/test_tree.py",
    "engine/tests/contract/test_workflows.py",
)


@pytest.mark.fork
@pytest.mark.timeout(1200)
def test_the_renamed_repository_works(clone: Path) -> None:
    programs = Path(sys.executable).parent
    for argv in (
        [programs / "lint-imports", "--no-cache"],
        [programs / "ruff", "check", "."],
        [programs / "ruff", "format", "--check", "."],
        [sys.executable, "-m", "pytest", *TESTS, "--basetemp", clone.parent / "pytest"],
    ):
        done = run(clone, *argv)
        assert done.returncode == 0, f"{argv}\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
    shown = call(clone, PACKAGE, "--help")
    assert shown.returncode == 0
    checked = call(clone, PACKAGE, "manifests", "check")
    assert checked.returncode == 0, checked.stderr
    assert f"{FIRST}: " in checked.stdout


@pytest.mark.real
def test_nothing_of_the_old_name_is_left_but_history_data_and_record(clone: Path) -> None:
    old = load_record(clone).template.names.name
    kept = (":!CHANGELOG.md", ":!dvc-store", ":!.template.yaml")
    done = run(clone, "git", "grep", "--cached", "-i", "-I", "-l", "-w", "-e", old, "--", ".", *kept)
    assert done.stdout == ""
    assert [path for path in git(clone, "ls-files").splitlines() if old in path] == []


@pytest.mark.real
def test_in_the_clone_git_undoes_it_and_a_second_time_changes_nothing(clone: Path) -> None:
    renamed = git(clone, "write-tree")
    git(clone, "reset", "--quiet", "--hard")
    assert git(clone, "status", "--porcelain") == ""
    left = [path for path in (clone / "engine" / "src" / PACKAGE).rglob("*") if path.is_file()]
    assert [path for path in left if path.suffix != ".pyc"] == []  # which git ignores
    dry = call(clone, load_record(clone).names.package, "init", *WORDS, "--dry-run")
    assert dry.returncode == 0
    assert "if it were not a dry run" in dry.stdout
    assert git(clone, "status", "--porcelain") == ""
    git(clone, "read-tree", "--reset", "-u", renamed)
    refused = call(clone, PACKAGE, "init", "--name", "other-desk")
    assert (refused.returncode, "git reset --hard" in refused.stderr) == (1, True)
    git(clone, "commit", "--quiet", "--message", "Names")
    again = call(clone, PACKAGE, "init", *WORDS)
    assert (again.returncode, again.stdout) == (0, "nothing to change: these are the names of the repository\n")
    assert git(clone, "status", "--porcelain") == ""
