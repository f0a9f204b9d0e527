from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest

from sluice.extras.upgrade.upgrade_engine import UpgradeResult, prepare
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


@pytest.fixture(scope="session")
def small_fork(tmp_path_factory: pytest.TempPathFactory) -> Fork:
    return Fork(tmp_path_factory.mktemp("small"))
