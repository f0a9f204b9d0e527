"""Notes in a git repository: each is a ref `refs/sluice/<name>`, which clones leave out.

A ref is created by a push that demands that there is none yet (`--force-with-lease=<ref>:`), and the server compares
that once more as it writes: of two concurrent writers one is refused. It points to a commit of its own with one file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
import weakref
from functools import cached_property
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.git import commit_tree, run, run_bytes, sign_in_to_github
from sluice.extras.registry.registry_credentials import github_token

_REFS = "refs/sluice/"
_FILE = "note"
_PAUSES_S = (1, 4)
_STALLS = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60")
_REMEDY = (
    "a job on GitHub needs `contents: write` (`contents: read` to serve) and GITHUB_TOKEN, a laptop `gh auth login`"
)


class GitRefs:
    """Notes in the repository at `remote`; what is fetched lies in a temporary folder."""

    def __init__(self, remote: str) -> None:
        self._remote = remote

    def __str__(self) -> str:
        return self._remote

    def names(self, folder: str) -> list[str]:
        """Names of all notes below a folder, sorted."""
        below = f"{_REFS}{folder}/"
        self._git("fetch", "--quiet", "--prune", "--no-tags", self._remote, f"+{below}*:{below}*")
        return self._git("for-each-ref", f"--format=%(refname:lstrip={_REFS.count('/')})", below).splitlines()

    def read(self, name: str) -> bytes | None:
        """A note; None when there is none of that name. One that was fetched is not asked for again: none changes."""
        if not self._commit(name) and name not in self.names(name.rpartition("/")[0]):
            return None
        return run_bytes(self._local, "cat-file", "blob", f"{_REFS}{name}:{_FILE}")

    def make(self, name: str, content: bytes) -> bool:
        """Makes a note; False when there is one of that name."""
        blob = self._git("hash-object", "-w", "--stdin", given=content)
        tree = self._git("mktree", given=f"100644 blob {blob}\t{_FILE}\n".encode())
        # Two writers of the same words make two commits: to git, a ref that is there already with the own commit is
        # no conflict.
        commit, ref = commit_tree(self._local, tree, uuid.uuid4().hex, ""), f"{_REFS}{name}"
        for pause in (*_PAUSES_S, None):
            try:
                self._git("push", "--quiet", f"--force-with-lease={ref}:", self._remote, f"{commit}:{ref}")
            except SluiceError:
                # Refused, unreachable, or done without its answer: the remote knows.
                self.names(name.rpartition("/")[0])
                if found := self._commit(name):
                    return found == commit
                if pause is None:
                    raise
                time.sleep(pause)
            else:
                return True
        raise AssertionError("the last attempt returns or raises")

    def _commit(self, name: str) -> str:
        return self._git("for-each-ref", "--format=%(objectname)", f"{_REFS}{name}")

    def _git(self, *words: str, given: bytes | None = None) -> str:
        try:
            return run(self._local, *_STALLS, *words, env=self._signed_in, given=given, remedy=_REMEDY)
        except SluiceError as error:
            raise SluiceError(f"{self}: {error.message}", remedy=error.remedy) from None

    @cached_property
    def _signed_in(self) -> dict[str, str]:
        token = github_token() if self._remote.startswith("https://") else ""
        return {**sign_in_to_github({**os.environ, "GITHUB_TOKEN": token}), "GIT_TERMINAL_PROMPT": "0"}

    @cached_property
    def _local(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="sluice-record-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        run(folder, "init", "--quiet", "--bare")
        return folder
