"""An artifact store without a bucket: artefacts in an OCI registry, and the record in a git repository.

- `github`: the registry of GitHub, `ghcr.io/<owner>/<name>-artifacts`, and the repository itself.
- `oci://<registry>/<name>`: any registry; the record is in the remote `origin` of the checkout.
- `oci://<registry>/<name>#<remote>`: the record is in that repository of git. Fetching a release needs none.

Each note of the record is a ref `refs/sluice/<name>`, which clones leave out. It points to a commit of its own with one
file. A push creates it that demands that there is none yet (`--force-with-lease=<ref>:`), and the server compares that
once more as it writes: of two concurrent writers one is refused.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.git import SERVER, commit_tree, run, run_bytes, sign_in_to_github
from sluice.extras.registry.oci_registry import GITHUB, GithubRegistry, OciRegistry, github_token

_REFS = "refs/sluice/"
_FILE = "note"
_PAUSES_S = (1, 4)
_STALLS = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60")
_REMEDY = (
    "a job on GitHub needs `contents: write` (`contents: read` to serve) and GITHUB_TOKEN, a laptop `gh auth login`"
)
_ADDRESS = r"oci://([a-zA-Z0-9.-]+(?::\d+)?)/([a-z0-9]+(?:(?:[._]|__|-+|/)[a-z0-9]+)*)(?:#(.+))?"


def open_registry_store(address: str) -> RegistryStore:
    """Open the store at an address, without a request."""
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
    """An `ArtifactStore` of a registry and of git refs; the record is in `remote`, or in `origin`."""

    def __init__(self, registry: OciRegistry, remote: str) -> None:
        self._registry, self._remote = registry, remote

    def __str__(self) -> str:
        return str(self._registry)

    def has(self, digest: str) -> bool:
        return self._registry.has(digest)

    def put(self, digest: str, path: Path) -> None:
        self._registry.put(digest, path)

    def remove(self, name: str) -> None:
        self._registry.delete(name)

    def get(self, digest: str, target: Path) -> None:
        if not self._registry.get(digest, target):
            raise self._absent(f"sha256/{digest}")

    def notes(self, folder: str) -> list[str]:
        depth = folder.count("/") + 1
        return [name for name in self._names(folder) if name.count("/") == depth]

    def read(self, name: str) -> bytes:
        # One that was fetched is not asked for again, as none changes.
        if not self._commit(name) and name not in self._names(name.rpartition("/")[0]):
            raise self._absent(name)
        return run_bytes(self._local, "cat-file", "blob", f"{_REFS}{name}:{_FILE}")

    def make(self, name: str, content: bytes) -> bool:
        blob = self._git("hash-object", "-w", "--stdin", given=content)
        tree = self._git("mktree", given=f"100644 blob {blob}\t{_FILE}\n".encode())
        # Two writers of the same words make two commits: to git, a ref that is there already with the own commit is
        # no conflict.
        commit, ref = commit_tree(self._local, tree, uuid.uuid4().hex, ""), f"{_REFS}{name}"
        for pause in (*_PAUSES_S, None):
            try:
                self._git("push", "--quiet", f"--force-with-lease={ref}:", self._record, f"{commit}:{ref}")
            except SluiceError:
                # Refused, unreachable, or done without its answer: the remote knows.
                self._names(name.rpartition("/")[0])
                if found := self._commit(name):
                    return found == commit
                if pause is None:
                    raise
                time.sleep(pause)
            else:
                return True
        raise AssertionError("the last attempt returns or raises")

    def folders(self, folder: str) -> list[str]:
        depth = folder.count("/") + 1
        return sorted({name.split("/")[depth] for name in self._names(folder) if name.count("/") > depth})

    def keep(self, release: str, folder: Path, blobs: Mapping[str, Path]) -> None:
        """Tag a manifest of the blobs with the id of the release: no registry collects what a manifest names."""
        page = self._record if self._record.startswith("https://") else ""
        self._registry.tag(release, folder, blobs, page.removesuffix(".git"))

    def unneeded(self, needed: Collection[str], before: datetime) -> list[str]:
        return sorted(tag for tag, made in self._registry.tags().items() if tag not in needed and made < before)

    def _absent(self, name: str) -> SluiceError:
        return SluiceError(f"{self}/{name}: not there", remedy="`sluice release push` the release there first")

    @cached_property
    def _record(self) -> str:
        if self._remote:
            return self._remote
        if repository := os.environ.get("GITHUB_REPOSITORY"):
            return f"{os.environ.get('GITHUB_SERVER_URL') or SERVER}/{repository}"
        return _origin(f"{self}: where is its record?", f"run it in a clone, or name it: {self}#<remote>")

    def _names(self, folder: str) -> list[str]:
        """Fetch the notes below a folder."""
        below = f"{_REFS}{folder}/"
        self._git("fetch", "--quiet", "--prune", "--no-tags", self._record, f"+{below}*:{below}*")
        return self._git("for-each-ref", f"--format=%(refname:lstrip={_REFS.count('/')})", below).splitlines()

    def _commit(self, name: str) -> str:
        return self._git("for-each-ref", "--format=%(objectname)", f"{_REFS}{name}")

    def _git(self, *words: str, given: bytes | None = None) -> str:
        try:
            return run(self._local, *_STALLS, *words, env=self._signed_in, given=given, remedy=_REMEDY)
        except SluiceError as error:
            raise SluiceError(f"{self._record}: {error.message}", remedy=error.remedy) from None

    @cached_property
    def _signed_in(self) -> dict[str, str]:
        token = github_token() if self._record.startswith("https://") else ""
        return {**sign_in_to_github({**os.environ, "GITHUB_TOKEN": token}), "GIT_TERMINAL_PROMPT": "0"}

    @cached_property
    def _local(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="sluice-record-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        run(folder, "init", "--quiet", "--bare")
        return folder


def _github_repository() -> str:
    """Return owner/name of the run on GitHub, or of `origin`."""
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
