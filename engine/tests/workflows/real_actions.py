"""The code of the actions themselves, for runs of act: where SLUICE_ACTIONS names a folder of them, at OWNER/NAME.

Each is a checkout of its repository (engine/docs/reference/workflow-tests.md says how it comes there); what is not in
the folder is played as ever. Beside act they need what GitHub's runners have: node, a tool cache with Python, a git
server that is GitHub's to them, services for artifacts (artifact_service.py), code scanning (code_scanning.py) and
signing in to AWS (sign_in_service.py), and one for caches, which is act's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.git_server import git_server
from unit.github.fake_github import READER, WRITER
from workflows.artifact_service import ArtifactService, artifact_service
from workflows.sign_in_service import sign_in_service

VARIABLE = "SLUICE_ACTIONS"
# Those that need nothing outside this machine: a signature needs Sigstore, a score is an image of Docker.
_RUN_HERE = (
    "actions/cache",
    "actions/checkout",
    "actions/download-artifact",
    "actions/setup-python",
    "actions/upload-artifact",
    "aws-actions/configure-aws-credentials",
    "github/codeql-action",
)


@dataclass(frozen=True)
class RealActions:
    """`served`: the bare repository behind `server`, which checkouts come from."""

    folder: Path
    served: Path
    environment: Mapping[str, str]
    artifacts: ArtifactService

    def push(self, root: Path, payload: Mapping[str, Any]) -> None:
        """Puts the commit that is checked out where the event says that it is."""
        number = payload.get("number")
        ref = f"refs/pull/{number}/merge" if number else payload.get("ref", "refs/heads/main")
        words = ["git", "-C", str(root), "push", "--quiet", "--force", str(self.served), f"HEAD:{ref}"]
        subprocess.run(words, check=True)

    def words(self, caches: Path) -> list[str]:
        """Options of act: a real checkout, and its service for caches."""
        service = ("--cache-server-addr", "127.0.0.1", "--cache-server-path", str(caches))
        return ["--no-skip-checkout", *service]


def real(owner: str, name: str) -> Path | None:
    """The folder with the code of an action, or None where it is played."""
    action = f"{owner}/{name}"
    place = Path(os.environ.get(VARIABLE, "/nowhere"), action)
    return place if action in _RUN_HERE and place.is_dir() else None


@contextmanager
def real_actions(origin: Path, folder: Path, place: Path) -> Iterator[RealActions | None]:
    """What the real actions need; None where nothing names their folder.

    Args:
        origin: The repository that a server is to have.
        folder: Gets the server's repository and the tool cache.
        place: Where artifacts lie, and the roles that were signed in as.
    """
    if VARIABLE not in os.environ:
        yield None
        return
    if shutil.which("node") is None:
        pytest.skip(f"{VARIABLE} is set, and node, which runs actions, is not installed")
    served = folder / "served" / "octo" / "app"
    served.parent.mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", "--bare", str(origin), str(served)], check=True)
    tools = _tool_cache(folder / "tools")
    with (
        git_server(folder / "served") as server,
        artifact_service(place / "artifacts") as artifacts,
        sign_in_service(place / "assumed") as signs_in,
    ):
        server.rights.update({WRITER: "write", READER: "read"})
        environment = {"AGENT_TOOLSDIRECTORY": str(tools), **github_itself(server.url, server.certificate), **signs_in}
        yield RealActions(Path(os.environ[VARIABLE]), served, environment, artifacts)


def github_itself(url: str, certificate: Path) -> dict[str, str]:
    """A server of this machine by a name that the actions take for GitHub's: of all others, caches and artifacts are
    those of GitHub Enterprise Server (@actions/artifact 6.2.1, lib/internal/shared/config.js, isGhes)."""
    return {
        "GITHUB_SERVER_URL": url.replace("127.0.0.1", "github.localhost"),
        "GIT_SSL_CAINFO": str(certificate),
    }


def _tool_cache(folder: Path) -> Path:
    """As on GitHub's runners, with the Python of these tests (actions/setup-python 7.0.0, src/find-python.ts)."""
    version = "{}.{}.{}".format(*sys.version_info)
    programs = folder / "Python" / version / "x64" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "python3", f"python3.{sys.version_info.minor}"):
        (programs / name).symlink_to(Path(sys.executable).resolve())
    (folder / "Python" / version / "x64.complete").write_text("")
    return folder
