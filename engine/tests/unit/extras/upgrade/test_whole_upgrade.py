"""This whole repository as the template: a project with everything of its own takes a later engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.core.project import edit_project, load_project
from sluice.extras.upgrade.upgrade_engine import prepare
from sluice.template.owned import OWNED, list_files, read_list, version_of, write_lists
from unit.extras.upgrade.conftest import Fork
from unit.template.conftest import ROOT, Template, commit, git, write

METRIC, ENGINE_FILE = "src/assistant/metrics/exclamations.py", "engine/src/sluice/core/digests.py"
# What a project adds and changes, by extension point.
OWN: dict[str, str | None] = {
    "prompts/summary.prompt.yml": "name: summary\n",
    METRIC: "METRIC = 1\n",
    "src/assistant/guardrails/colours.py": "CHECK = 1\n",
    "src/assistant/routes.py": "ROUTER = 1\n",
    "src/assistant/tools.py": "TOOL = 1\n",
    "k8s/overlays/trial/kustomization.yaml": "namespace: trial\n",
    "tests/test_own.py": "TEST = 1\n",
    "docs/ours.md": "Ours.\n",
    "project.mk": "own:\n",
    ".github/workflows/own.yml": "name: own\n",
    "README.md": "# Ours\n",
}
_APPENDED = ("config/gates.yaml", "config/guardrails.yaml", "pipelines/params.yaml", "k8s/base/rollout.yaml")


class _Whole(Template):
    """The files that git tracks here, as they are."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        for name in git(ROOT, "ls-files", "-z").split("\0"):
            if name and not name.startswith("dvc-store/") and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
        git(folder, "init", "--quiet", "--initial-branch", "main")
        # The template that a project is made from here may be a project itself.
        text = (folder / "config/project.yaml").read_text().splitlines(keepends=True)
        (folder / "config/project.yaml").write_text("".join(one for one in text if not one.startswith("template:")))
        self.release(version_of(folder))

    def release(self, version: str, files: dict[str, str | None] | None = None) -> None:
        old = version_of(self.root)
        project = (self.root / "engine/pyproject.toml").read_text()
        write(self.root, {"engine/pyproject.toml": project.replace(f'"{old}"', f'"{version}"', 1), **(files or {})})
        git(self.root, "add", "--all", "--force")
        write_lists(self.root, list_files(self.root))
        git(self.root, "add", "--all", "--force")
        commit(self.root, f"Release {version}")
        git(self.root, "tag", f"v{version}")


@pytest.mark.timeout(1800)
def test_a_project_with_everything_of_its_own_takes_a_later_engine(tmp_path: Path) -> None:
    template = _Whole(tmp_path / "template")
    fork = Fork(tmp_path, template)
    write(fork.root, OWN)
    for name in _APPENDED:
        write(fork.root, {name: (fork.root / name).read_text() + "# ours\n"})
    text = (fork.root / "config/project.yaml").read_text()
    write(fork.root, {"config/project.yaml": edit_project(text, {"without": ["notebook"]})})
    head = commit(fork.root, "Ours")

    changed: dict[str, str | None] = {
        ENGINE_FILE: (template.root / ENGINE_FILE).read_text() + "# later\n",
        "engine/src/sluice/core/later.py": "LATER = 1\n",
        "Makefile": (template.root / "Makefile").read_text() + "# later\n",
        ".github/workflows/later.yml": (template.root / ".github/workflows/deploy-release.yml").read_text(),
        # What the starter changed is not for a project that has its own.
        "prompts/answer.prompt.yml": "name: answer\n",
        "config/gates.yaml": "gates: []\n",
        "src/assistant/starter.py": "NEW = 1\n",
    }
    template.release("99.0.0", changed)
    made = prepare(fork.root, load_project(fork.root / "config"), str(template.root))
    assert made is not None
    assert (made.new, made.merged, made.kept, made.codemods) == ("99.0.0", [], [], {})

    before, after = fork.files(head), fork.files(made.commit)
    owned = read_list(fork.root, OWNED)
    yours = {path for path in before if not path.startswith("engine/") and path not in owned}
    assert set(OWN) <= yours
    assert {path: after.get(path) for path in yours} == {path: before[path] for path in yours}, "not a byte"
    outside = {path for path in made.changed if not path.startswith("engine/")}
    assert outside == {"Makefile", ".github/workflows/later.yml"}
    assert {ENGINE_FILE, "engine/src/sluice/core/later.py"} <= set(made.changed)

    git(fork.root, "merge", "--quiet", "--ff-only", made.commit)
    assert engine_check(fork.root).returncode == 0
    write(fork.root, {ENGINE_FILE: (fork.root / ENGINE_FILE).read_text() + "# mine\n"})
    refused = engine_check(fork.root)
    assert (refused.returncode, f"{ENGINE_FILE}: changed" in refused.stderr) == (1, True)


def engine_check(root: Path) -> subprocess.CompletedProcess[str]:
    """What `make check` runs, by the engine that was taken."""
    argv = [sys.executable, "-c", "import sys; from sluice.cli import main; sys.exit(main())", "engine", "check"]
    environment = {**os.environ, "PYTHONPATH": str(root / "engine" / "src")}
    return subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False)
