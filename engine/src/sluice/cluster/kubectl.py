"""Access to a cluster through kubectl, with its kubeconfig, context and authentication plugins.

kubectl applies manifests. Other requests go through `kubectl proxy` on a Unix socket in a private folder.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from sluice.cluster.manifests import Manifest, kubectl
from sluice.core.errors import SluiceError
from sluice.core.processes import start, wait_until

Show = Callable[[str], None]
# Field manager of everything this project applies.
MANAGER = "sluice"
_CALL_SECONDS = 120
_GONE_SECONDS = 60.0
_RIGHTS = "engine/docs/reference/deployment.md lists the rights that the account needs"


class ClusterUnreachableError(SluiceError):
    """The API server did not answer. Applied objects stay, and a running rollout continues without this process."""


class ConflictError(SluiceError):
    """Another field manager owns a field of this manifest."""


# What kubectl says, the kind of error, and what to do about it. The first that fits counts.
_FIELD = "take the field out of k8s/, or let go of it where it was written"
_KIND = "install what defines that kind: Argo Rollouts, Traefik, …"
_CONTEXT = "set KUBECONFIG, and --context"
_LOST = "check the connection and run it again: what was applied stays"
_WORDS: tuple[tuple[str, type[SluiceError], str], ...] = (
    (r"\(Forbidden\)|is forbidden", SluiceError, _RIGHTS),
    (r"Unauthorized|You must be logged in|provide credentials", SluiceError, "sign in to the cluster again"),
    (r"no matches for kind|ensure CRDs are installed", SluiceError, _KIND),
    (r"Apply failed with \d+ conflict", ConflictError, _FIELD),
    (r"context .* does not exist|no context exists|no configuration|current-context", SluiceError, _CONTEXT),
    (r"connection refused|was refused|no such host|i/o timeout|EOF|connection reset", ClusterUnreachableError, _LOST),
    (r"Unable to connect|Client\.Timeout|TLS handshake timeout", ClusterUnreachableError, _LOST),
    (r"ServiceUnavailable|currently unable to handle", ClusterUnreachableError, _LOST),
)


class Cluster:
    """A cluster of the kubeconfig; an API server that doesn't answer is tried again for `lost_seconds`."""

    def __init__(self, state: Path, *, context: str = "", lost_seconds: float = 120.0) -> None:
        self.state = state
        self.context = context
        self.lost_seconds = lost_seconds

    def live(self, documents: Sequence[Manifest]) -> list[Manifest]:
        """Return those documents that exist, as they are in the cluster."""
        text = self._call(["get", "-f", "-", "-o", "json", "--ignore-not-found"], documents)
        found = json.loads(text) if text.strip() else {"items": []}
        items: list[Manifest] = found.get("items", [found])
        return items

    def apply(
        self, documents: Sequence[Manifest], *, dry_run: bool = False, force: bool = False, manager: str = MANAGER
    ) -> None:
        if not documents:
            return
        words = ["apply", "--server-side", f"--field-manager={manager}", "-f", "-"]
        words += ["--dry-run=server"] if dry_run else []
        words += ["--force-conflicts"] if force else []
        self._call(words, documents)

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """Open an HTTP client for the API server."""
        folder = Path(tempfile.mkdtemp(prefix="sluice-"))  # only this user gets in; a socket's path must be short
        socket = folder / "api"
        child = start("kubectl-proxy", self._words(["proxy", "--unix-socket", str(socket)]), state=self.state)
        try:
            if not wait_until(lambda: socket.exists() or not child.running, seconds=60) or not child.running:
                raise _refusal(child.tail() or "kubectl proxy did not start")
            transport = httpx.HTTPTransport(uds=str(socket))
            with httpx.Client(transport=transport, base_url="http://localhost", timeout=30) as client:
                yield client
        finally:
            child.stop(grace=5)
            shutil.rmtree(folder, ignore_errors=True)

    def _words(self, words: list[str]) -> list[str]:
        return [kubectl(), *([f"--context={self.context}"] if self.context else []), *words]

    def _call(self, words: list[str], documents: Sequence[Manifest]) -> str:
        """Run kubectl. Every command here may be repeated, so it is while the API server doesn't answer."""
        text = "".join(f"---\n{json.dumps(one)}\n" for one in documents)  # JSON is YAML, and made ten times as fast
        argv = self._words([*words, f"--request-timeout={_CALL_SECONDS // 4}s"])
        end, pause = time.monotonic() + self.lost_seconds, 0.5
        while True:
            try:
                done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=_CALL_SECONDS)
            except subprocess.TimeoutExpired:
                said = f"kubectl {words[0]}: no answer in {_CALL_SECONDS} s"
                error: SluiceError = ClusterUnreachableError(said, remedy="run it again")
            else:
                if not done.returncode:
                    return done.stdout
                error = _refusal(done.stderr)
            if not isinstance(error, ClusterUnreachableError) or time.monotonic() + pause > end:
                raise error
            time.sleep(pause)
            pause = min(pause * 2, 10)


def _refusal(words: str) -> SluiceError:
    # kubectl logs each attempt at discovery in its own format (E1124 ...); its last words say it for people.
    text = "\n".join(one for one in words.strip().splitlines() if not re.match(r"[EWI]\d{4} ", one)) or words.strip()
    for pattern, error, remedy in _WORDS:
        if re.search(pattern, text):
            return error(text, remedy=remedy)
    return SluiceError(text, remedy="only the objects named here were changed")


def read(client: httpx.Client, path: str, **query: str) -> Any:
    """Return an object or list; ClusterUnreachableError if the API server doesn't answer."""
    return _answer(lambda: client.get(path, params=query))


def find(client: httpx.Client, path: str) -> Any | None:
    """Return an object, or None."""
    return _answer(lambda: client.get(path), absent=True)


def delete(client: httpx.Client, path: str) -> None:
    """Delete an object with what it owns, and wait until it is gone."""
    _answer(lambda: client.delete(path, params={"propagationPolicy": "Background"}), absent=True)
    if not wait_until(lambda: find(client, path) is None, seconds=_GONE_SECONDS, every=0.5):
        raise SluiceError(f"{path}: is not gone {_GONE_SECONDS:.0f} s after it was deleted", remedy="look at its pods")


def patch(client: httpx.Client, path: str, body: Any) -> Any:
    headers = {"Content-Type": "application/merge-patch+json"}
    return _answer(lambda: client.patch(path, content=json.dumps(body), headers=headers))


def _answer(ask: Callable[[], httpx.Response], *, absent: bool = False) -> Any:
    try:
        response = ask()
        if absent and response.status_code == 404:
            return None
        check(response)
        return response.json()
    except (httpx.TransportError, ValueError) as error:  # ValueError: an answer that was cut off
        remedy = "check the connection and run it again"
        raise ClusterUnreachableError(f"the API server: {error}", remedy=remedy) from error


def check(response: httpx.Response) -> None:
    """Raise for a refusal; ClusterUnreachableError if the API server may answer later."""
    if response.status_code == 429 or response.status_code >= 500:
        raise ClusterUnreachableError(f"the API server: {message(response)}", remedy="run it again")
    if response.is_error:
        remedy = _RIGHTS if response.status_code in (401, 403) else "see the message"
        raise SluiceError(message(response), remedy=remedy)


def message(response: httpx.Response) -> str:
    try:
        return str(json.loads(response.read())["message"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.text.strip()[:300]}"
