import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from sluice.core.digests import digest_of


def make(root: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    # Inside `make test` the outer make's flags would reach this one.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *words], cwd=root, env=env | variables, capture_output=True, text=True, check=False)


def test_check_looks_at_files_that_git_does_not_know_yet(root: Path, tmp_path: Path) -> None:
    for name in ("Makefile", ".pre-commit-config.yaml", "pyproject.toml", "engine/pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    (tmp_path / ".gitignore").write_text(".venv\n*.ignored.py\n")
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)

    def check() -> subprocess.CompletedProcess[str]:
        # The environment is ready; the two hooks that are skipped read the whole engine.
        return make(
            tmp_path, "check", "--old-file=.venv/.ready", SKIP="mypy,engine", PRE_COMMIT_HOME=str(tmp_path / "pc")
        )

    faults = f"import os,sys\ntoken = 'ghp_{'a1B2c3D4e5' * 4}'[:40]\n"  # pragma: allowlist secret
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "dvc.lock").write_text(f"md5: {digest_of('a file')[:32]}")
    (tmp_path / "old.ignored.py").write_text(faults)
    done = check()
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "a new.py").write_text(faults)
    done = check()
    failed = re.findall(r"^(\w+)\.{3,}Failed$", done.stdout, re.MULTILINE)
    assert (done.returncode != 0, failed) == (True, ["format", "lint", "secrets"]), done.stdout + done.stderr
