"""An artifact store without a bucket: artefacts in an OCI registry, and the record in a git repository.

- `github`: the registry of GitHub, `ghcr.io/<owner>/<name>-artifacts`, and the repository itself.
- `oci://<registry>/<name>`: any registry; the record is in the remote `origin` of the checkout.
- `oci://<registry>/<name>#<remote>`: the record is in that repository of git. Fetching a release needs none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.git import SERVER, run
from sluice.extras.registry.git_refs import GitRefs
from sluice.extras.registry.oci_registry import GithubRegistry, OciRegistry
from sluice.extras.registry.registry_credentials import GITHUB

_ADDRESS = r"oci://([a-zA-Z0-9.-]+(?::\d+)?)/([a-z0-9]+(?:(?:[._]|__|-+|/)[a-z0-9]+)*)(?:#(.+))?"


def open_registry_store(address: str) -> RegistryStore:
    """Opens the store at an address; neither registry nor repository is asked for anything yet."""
    if address == "github":
        return RegistryStore(GithubRegistry(GITHUB, f"{_github_repository().lower()}-artifacts"), "")
    found = re.fullmatch(_ADDRESS, address)
    if found is None:
        raise SluiceError(
            f"{address}: not an artifact store",
            remedy="write github, or oci://<registry>/<name in lower case>, such as oci://ghcr.io/octo/app-artifacts",
        )
    host, name, remote = found.groups()
    return RegistryStore((GithubRegistry if host == GITHUB else OciRegistry)(host, name), remote or "")


class RegistryStore:
    """An `ArtifactStore` of a registry and of git refs. `remote`: where the record is; empty for `origin`."""

    def __init__(self, registry: OciRegistry, remote: str) -> None:
        self._registry, self._remote = registry, remote

    def __str__(self) -> str:
        return str(self._registry)

    def has(self, digest: str) -> bool:
        return self._registry.has(digest)

    def put(self, digest: str, path: Path) -> None:
        self._registry.put(digest, path)

    def get(self, digest: str, target: Path) -> None:
        if not self._registry.get(digest, target):
            raise self._absent(f"sha256/{digest}")

    def notes(self, folder: str) -> list[str]:
        depth = folder.count("/") + 1
        return [name for name in self._refs.names(folder) if name.count("/") == depth]

    def read(self, name: str) -> bytes:
        if (found := self._refs.read(name)) is None:
            raise self._absent(name)
        return found

    def make(self, name: str, content: bytes) -> bool:
        return self._refs.make(name, content)

    def folders(self, folder: str) -> list[str]:
        depth = folder.count("/") + 1
        return sorted({name.split("/")[depth] for name in self._refs.names(folder) if name.count("/") > depth})

    def keep(self, release: str, folder: Path, blobs: Mapping[str, Path]) -> None:
        """Tags a manifest of the blobs with the id of the release: what a manifest names, no registry collects."""
        page = self._record if self._record.startswith("https://") else ""
        self._registry.tag(release, folder, blobs, page.removesuffix(".git"))

    def unneeded(self, needed: Collection[str], before: datetime) -> list[str]:
        return sorted(tag for tag, made in self._registry.tags().items() if tag not in needed and made < before)

    def remove(self, name: str) -> None:
        self._registry.delete(name)

    def _absent(self, name: str) -> SluiceError:
        return SluiceError(f"{self}/{name}: not there", remedy="`sluice release push` the release there first")

    @cached_property
    def _record(self) -> str:
        """Where the record is: what the address says, or `origin` of the checkout around."""
        if self._remote:
            return self._remote
        if repository := os.environ.get("GITHUB_REPOSITORY"):
            return f"{os.environ.get('GITHUB_SERVER_URL') or SERVER}/{repository}"
        return _origin(f"{self}: where is its record?", f"run it in a clone, or name it: {self}#<remote>")

    @cached_property
    def _refs(self) -> GitRefs:
        return GitRefs(self._record)


def _github_repository() -> str:
    """owner/name of the repository: of the run on GitHub, or where `origin` of the checkout is."""
    if repository := os.environ.get("GITHUB_REPOSITORY"):
        return repository
    remedy = "set GITHUB_REPOSITORY=OWNER/NAME, or run it in a clone of a repository on GitHub"
    host = re.escape((os.environ.get("GITHUB_SERVER_URL") or SERVER).partition("://")[2])
    found = re.search(rf"(?:^|@|//){host}[:/]([^/]+/[^/]+?)(?:\.git)?/?$", _origin("github", remedy))
    if found is None:
        raise SluiceError("github: the remote `origin` of this checkout is not on GitHub", remedy=remedy)
    return found[1]


def _origin(what: str, remedy: str) -> str:
    try:
        return run(Path.cwd(), "remote", "get-url", "origin")
    except SluiceError:
        raise SluiceError(f"{what}: there is no remote `origin` here", remedy=remedy) from None
