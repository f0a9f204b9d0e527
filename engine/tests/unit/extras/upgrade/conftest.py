"""Projects that take later versions of a template in miniature."""

from __future__ import annotations

from sluice.core.project import load_project
from sluice.extras.upgrade.upgrade_engine import UpgradeResult, prepare
from unit.template import conftest as template


class Fork(template.Fork):
    """A project that can be upgraded."""

    def upgrade(self, to: str = "", *, discard: bool = False) -> UpgradeResult | None:
        return prepare(self.root, load_project(self.root / "config"), str(self.template.root), to, discard=discard)

    def upgraded(self, to: str = "", *, discard: bool = False) -> UpgradeResult:
        made = self.upgrade(to, discard=discard)
        assert made is not None
        return made
