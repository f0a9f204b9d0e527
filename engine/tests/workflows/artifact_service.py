"""The service that upload-artifact and download-artifact talk to on GitHub's runners: artifacts of a run, over HTTP.

Calls, fields and their JSON are those of the client, @actions/artifact 6.2.1 (lib/internal/upload/upload-artifact.js,
upload/blob-upload.js, find/list-artifacts.js, delete/delete-artifact.js, download/download-artifact.js): Twirp with
names of the protocol's fields, and blocks of Azure's Blob Storage (Put Block, Put Block List, REST API 2025). A name
that a run has already is refused by 409, in whichever attempt it came (actions/upload-artifact, issue 769).

What is uploaded lies unpacked where the played actions put it, in `<folder>/<run>/<name>/`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from support.local_server import in_thread

_TWIRP = "/twirp/github.actions.results.api.v1.ArtifactService/"
ZIP = "application/zip"


@dataclass
class _Artifact:
    number: int
    kind: str
    blocks: dict[str, bytes] = field(default_factory=dict)
    content: bytes = b""
    whole: bool = False


@dataclass
class ArtifactService:
    """`kept`: artifacts by (run, name); `refused`: names that were there already."""

    folder: Path
    url: str = ""
    kept: dict[tuple[str, str], _Artifact] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def environment(self, run: str) -> dict[str, str]:
        """What a runner tells the steps of a run. The client reads two ids in the token, and sends it back."""
        head, claims = ({"alg": "none"}, {"scp": f"Actions.Results:{run}:{run}"})
        words = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (head, claims)]
        return {"ACTIONS_RESULTS_URL": f"{self.url}/", "ACTIONS_RUNTIME_TOKEN": ".".join([*words, ""])}

    def call(self, method: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The answer of the service to a call."""
        run, name = asked["workflow_run_backend_id"], asked.get("name", "")
        calls: dict[str, Callable[[], tuple[int, dict[str, Any]]]] = {
            "CreateArtifact": lambda: self._create(run, name, asked),
            "FinalizeArtifact": lambda: self._finalize(run, name, asked),
            "ListArtifacts": lambda: (200, {"artifacts": list(self._listed(run, asked))}),
            "GetSignedArtifactURL": lambda: (200, {"signed_url": self._blob(run, name)}),
            "DeleteArtifact": lambda: self._delete(run, name),
        }
        return calls[method]()

    def _create(self, run: str, name: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if (run, name) in self.kept:
            self.refused.append(name)
            return 409, {"code": "already_exists", "msg": "an artifact with this name already exists on the run"}
        self.kept[run, name] = _Artifact(len(self.kept) + 1, asked.get("mime_type", ZIP))
        return 200, {"ok": True, "signed_upload_url": self._blob(run, name)}

    def _finalize(self, run: str, name: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        kept = self.kept[run, name]
        if asked.get("hash") != f"sha256:{hashlib.sha256(kept.content).hexdigest()}":
            return 400, {"code": "invalid_argument", "msg": "the hash is another"}
        kept.whole = True
        place = self.folder / run / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        if kept.kind == ZIP:
            zipfile.ZipFile(io.BytesIO(kept.content)).extractall(place)
        else:
            (place / name).write_bytes(kept.content)
        return 200, {"ok": True, "artifact_id": str(kept.number)}

    def _listed(self, run: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for (of, name), kept in self.kept.items():
            wanted = asked.get("name_filter") in (None, name) and asked.get("id_filter") in (None, str(kept.number))
            if of == run and wanted and kept.whole:
                yield {
                    "workflow_run_backend_id": run,
                    "workflow_job_run_backend_id": run,
                    "database_id": str(kept.number),
                    "name": name,
                    "size": str(len(kept.content)),
                    "created_at": "2026-01-01T10:00:00Z",
                    "digest": f"sha256:{hashlib.sha256(kept.content).hexdigest()}",
                }

    def _delete(self, run: str, name: str) -> tuple[int, dict[str, Any]]:
        shutil.rmtree(self.folder / run / name, ignore_errors=True)
        return 200, {"ok": True, "artifact_id": str(self.kept.pop((run, name)).number)}

    def _blob(self, run: str, name: str) -> str:
        return f"{self.url}/blobs/{run}/{quote(name)}?sig=played"

    def put(self, blob: _Artifact, query: dict[str, list[str]], body: bytes) -> None:
        """A block of a blob, or, with the list of them, the whole."""
        if query["comp"] == ["block"]:
            blob.blocks[query["blockid"][0]] = body
        else:  # <BlockList><Latest>…</Latest></BlockList>
            named = [part.split("<")[0] for part in body.decode().split("<Latest>")[1:]]
            blob.content = b"".join(blob.blocks[one] for one in named)


@contextmanager
def artifact_service(folder: Path) -> Iterator[ArtifactService]:
    """Serves the artifacts of a repository's runs, kept in a folder."""
    service = ArtifactService(folder)

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            if parts.path.startswith(_TWIRP):
                status, said = service.call(parts.path.removeprefix(_TWIRP), json.loads(body))
                self._answer(status, "application/json", json.dumps(said).encode())
                return
            _, _, run, name = parts.path.split("/")
            blob = service.kept[run, name]
            if self.command == "PUT":
                service.put(blob, parse_qs(parts.query), body)
                self._answer(201, "application/xml", b"")
            else:
                self._answer(200, blob.kind, blob.content, f'attachment; filename="{name}"')

        def _answer(self, status: int, kind: str, content: bytes, disposition: str = "") -> None:
            self.send_response(status)
            headers = {"Content-Type": kind, "Content-Length": str(len(content)), "Content-Disposition": disposition}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "POST", "PUT"):
        setattr(Handler, f"do_{method}", Handler._handle)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    with in_thread(server):
        yield service
