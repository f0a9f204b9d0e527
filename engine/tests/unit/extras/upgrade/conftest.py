from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest

from sluice.extras.upgrade.upgrade_engine import UpgradeResult, prepare
from sluice.template.owned import list_files, version_of, write_lists
from unit.template import conftest as template


class Fork(template.Fork):
    def copy(self, folder: Path) -> Fork:
        """The same in another folder: making it anew takes many commands of git."""
        shutil.copytree(self.root.parent, folder, symlinks=True, dirs_exist_ok=True)
        made = copy.copy(self)
        made.template = copy.copy(self.template)
        made.template.root, made.server, made.root = folder / "template", folder / "server.git", folder / "fork"
        template.git(made.root, "remote", "set-url", "origin", str(made.server))
        return made

    def upgrade(self, to: str = "", *, discard: bool = False) -> UpgradeResult | None:
        return prepare(self.root, str(self.template.root), to, discard=discard)

    def upgraded(self, to: str = "", *, discard: bool = False) -> UpgradeResult:
        made = self.upgrade(to, discard=discard)
        assert made is not None
        return made


class WholeTemplate(template.Template):
    """This whole repository as a template: the files that git tracks here, as they are."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        for name in template.git(template.ROOT, "ls-files", "-z").split("\0"):
            if name and not name.startswith("dvc-store/") and (template.ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(template.ROOT / name, folder / name, follow_symlinks=False)
        template.git(folder, "init", "--quiet", "--initial-branch", "main")
        # The template that a project is made from here may be a project itself.
        text = (folder / "config/project.yaml").read_text().splitlines(keepends=True)
        (folder / "config/project.yaml").write_text("".join(one for one in text if not one.startswith("template:")))
        self.release(version_of(folder))

    def release(self, version: str, files: dict[str, str | None] | None = None) -> None:
        old = version_of(self.root)
        project = (self.root / "engine/pyproject.toml").read_text()
        template.write(
            self.root, {"engine/pyproject.toml": project.replace(f'"{old}"', f'"{version}"', 1), **(files or {})}
        )
        template.git(self.root, "add", "--all", "--force")
        write_lists(self.root, list_files(self.root))
        template.git(self.root, "add", "--all", "--force")
        template.commit(self.root, f"Release {version}")
        template.git(self.root, "tag", f"v{version}")


@pytest.fixture(scope="session")
def small_fork(tmp_path_factory: pytest.TempPathFactory) -> Fork:
    return Fork(tmp_path_factory.mktemp("small"))
