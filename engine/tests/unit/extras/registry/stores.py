"""A real OCI registry with a real bare repository of git, for the tests of all artifact stores."""

from __future__ import annotations

from pathlib import Path

from unit.extras.registry.registries import bare_repository
from unit.extras.registry.registries import registry_server as store_under_test

__all__ = ["record_address", "store_under_test"]


def record_address(folder: Path) -> str:
    """A store for its record alone: the registry has no part in that, and none is there."""
    return f"oci://127.0.0.1:9/app#{bare_repository(folder / 'record.git')}"
