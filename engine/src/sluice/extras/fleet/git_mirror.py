"""A bare repository on this machine with what was fetched of one on GitHub, without its history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.git import run, run_bytes, sign_in_to_github

_QUIET = ("-c", "gc.auto=0", "-c", "maintenance.auto=false")  # no process is left behind


@dataclass(frozen=True)
class GitMirror:
    """What lies in `folder` of the repository at `address`."""

    folder: Path
    address: str
    environment: Mapping[str, str] = field(repr=False)  # it has the token

    def fetch(self, *refs: str) -> None:
        """Fetches commits by their id, or refs as git words them. SluiceError where the server does not give them."""
        if not (self.folder / "HEAD").is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            run(self.folder, "init", "--quiet", "--bare")
        words = ("fetch", "--quiet", "--prune", "--no-tags", "--depth=1", "--", self.address, *refs)
        sign_in = {**sign_in_to_github(self.environment), "GIT_TERMINAL_PROMPT": "0"}
        run(self.folder, *_QUIET, *words, env=sign_in, remedy="the token must be allowed to read the contents")

    def has(self, commit: str) -> bool:
        """Whether a commit is here, all of it."""
        if not (self.folder / "HEAD").is_file():
            return False
        try:
            return run(self.folder, "cat-file", "-t", commit) == "commit"
        except SluiceError:
            return False

    def read(self, name: str) -> bytes:
        """A file, as `commit:path`. SluiceError where it is not here."""
        return run_bytes(self.folder, "cat-file", "blob", name)

    def refs(self, below: str) -> dict[str, str]:
        """Ids by name of the refs below one, sorted."""
        if not (self.folder / "HEAD").is_file():
            return {}
        listed = run(self.folder, "for-each-ref", "--format=%(refname) %(objectname)", below).splitlines()
        return dict(line.split() for line in listed)
