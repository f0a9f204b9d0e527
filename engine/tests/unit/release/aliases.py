"""Promotions with a registry that is played: what moves the alias is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sluice.core.workspace import Workspace
from sluice.release import champion, mlflow_registry
from sluice.release.environment_record import EnvironmentRecord
from sluice.release.manifest import Manifest

MoveAlias = Callable[[Workspace, Manifest, str], None]


def promote(
    workspace: Workspace, record: EnvironmentRecord, release: str, *, move_alias: MoveAlias, **words: Any
) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_registry, "promote_aliases", move_alias)
        return champion.promote(workspace, record, release, **words)


def reconcile(workspace: Workspace, record: EnvironmentRecord, *, move_alias: MoveAlias) -> str | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_registry, "promote_aliases", move_alias)
        return champion.reconcile(workspace, record)
