"""A client for one repository of an OCI registry: blobs by sha256, and manifests that protect them from garbage
collection, by the OCI distribution specification and the token flow of the CNCF Distribution project."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.utils import parse_dict_header
from urllib3.util import Retry

from sluice.core.digests import canonical_json
from sluice.core.errors import SluiceError

GITHUB = "ghcr.io"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_ARTIFACT = "application/vnd.sluice.release.v1"
# What a manifest without a configuration names.
_EMPTY, _EMPTY_KIND = b"{}", "application/vnd.oci.empty.v1+json"
_BLOB = "application/octet-stream"
_CREATED, _TITLE = "org.opencontainers.image.created", "org.opencontainers.image.title"
_LOOPBACK = ("127.0.0.1", "localhost")
_DENIED = (401, 403)
_ATTEMPTS = 3
_BUSY = (429, 500, 502, 503, 504)
_RETRY = Retry(total=5, backoff_factor=0.5, status_forcelist=_BUSY, allowed_methods=None, raise_on_status=False)
_PAGE = 1000
_RIGHTS = (
    "a job on GitHub needs `packages: write` (`packages: read` to serve) and GITHUB_TOKEN, a laptop "
    "`gh auth refresh --scopes write:packages` or `docker login`"
)


class OciRegistry(AuthBase):
    """The repository `name` of the registry at `host`. Each call raises a SluiceError that names both."""

    def __init__(self, host: str, name: str) -> None:
        self._host, self._name = host, name
        scheme = "http" if urlsplit(f"//{host}").hostname in _LOOPBACK else "https"
        self._root = f"{scheme}://{host}/v2/{name}/"
        self._session = requests.Session()
        self._session.auth = self
        self._session.mount(f"{scheme}://", HTTPAdapter(max_retries=_RETRY))
        self._authorization = self._challenge = ""

    def __str__(self) -> str:
        return f"oci://{self._host}/{self._name}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request to this registry, and to no other."""
        if self._authorization and urlsplit(request.url).netloc == self._host:
            request.headers.setdefault("Authorization", self._authorization)
        return request

    def has(self, digest: str) -> bool:
        return self._ask("HEAD", f"blobs/sha256:{digest}", expect=(200, 404)).status_code == 200

    def put(self, digest: str, content: Path | bytes) -> None:
        """Stream a blob, whose digest the registry compares; one that broke off is sent anew."""
        for attempt in range(1, _ATTEMPTS + 1):
            begun = self._ask("POST", "blobs/uploads/", expect=(202,))
            location = urljoin(begun.url, begun.headers["Location"])
            end = f"{location}{'&' if '?' in location else '?'}digest=sha256:{digest}"
            last = () if attempt == _ATTEMPTS else (400, 404, 416)
            if self._ask("PUT", end, expect=(201, *last), content=content).status_code == 201:
                return

    def get(self, digest: str, target: Path) -> bool:
        """Write a blob to a file, unverified; return False if the registry does not have it."""
        for attempt in range(1, _ATTEMPTS + 1):
            with self._ask("GET", f"blobs/sha256:{digest}", expect=(200, 404), stream=True) as answer:
                if answer.status_code == 404:
                    return False
                try:
                    with target.open("wb") as file:
                        for block in answer.iter_content(1 << 20):
                            file.write(block)
                except requests.RequestException as error:
                    if attempt == _ATTEMPTS:
                        raise self._error(f"blobs/sha256:{digest}", str(error)) from error
                else:
                    return True
        raise AssertionError("the last attempt returns or raises")

    def tag(self, tag: str, folder: Path, blobs: Mapping[str, Path], source: str) -> None:
        """Put a manifest of uploaded blobs under a tag."""
        empty = hashlib.sha256(_EMPTY).hexdigest()
        if not self.has(empty):
            self.put(empty, _EMPTY)
        layers = []
        for digest, path in blobs.items():
            layer = {"mediaType": _BLOB, "digest": f"sha256:{digest}", "size": path.stat().st_size}
            titled = {"annotations": {_TITLE: path.relative_to(folder).as_posix()}} if folder in path.parents else {}
            layers.append(layer | titled)
        about = {_CREATED: datetime.now(UTC).isoformat(timespec="seconds"), _TITLE: tag}
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "artifactType": _ARTIFACT,
            "config": {"mediaType": _EMPTY_KIND, "digest": f"sha256:{empty}", "size": len(_EMPTY)},
            "layers": layers,
            "annotations": about | ({"org.opencontainers.image.source": source} if source else {}),
        }
        self._ask("PUT", f"manifests/{tag}", expect=(201,), content=canonical_json(manifest), kind=_MANIFEST)

    def tags(self) -> dict[str, datetime]:
        """Return all tags of our manifests, with the time at which they were made."""
        found: dict[str, datetime] = {}
        page = f"tags/list?n={_PAGE}"
        while page:
            listed = self._ask("GET", page, expect=(200, 404))
            page = urljoin(listed.url, listed.links["next"]["url"]) if "next" in listed.links else ""
            for tag in (listed.json().get("tags") or []) if listed.status_code == 200 else []:
                answer = self._ask("GET", f"manifests/{tag}", expect=(200, 404), kind=_MANIFEST)
                manifest = answer.json() if answer.status_code == 200 else {}
                if manifest.get("artifactType") == _ARTIFACT:
                    found[tag] = datetime.fromisoformat(manifest["annotations"][_CREATED])
        return found

    def delete(self, tag: str) -> None:
        """Delete the manifest of a tag; the registry collects its blobs."""
        answer = self._ask("HEAD", f"manifests/{tag}", expect=(200, 404), kind=_MANIFEST)
        if answer.status_code == 200:
            digest = answer.headers["Docker-Content-Digest"]
            self._ask("DELETE", f"manifests/{digest}", expect=(202, 404))

    def _ask(
        self,
        method: str,
        path: str,
        *,
        expect: tuple[int, ...],
        content: Path | bytes = b"",
        kind: str = "",
        **how: Any,
    ) -> requests.Response:
        """Ask the registry, after signing in if it demands that."""
        answer = self._send(method, path, content, kind, how)
        if answer.status_code in _DENIED:
            # A public repository is open to those whose token is not meant for it.
            anonymous = [""] if method in ("GET", "HEAD") else []
            for user in dict.fromkeys((credentials(self._host), *anonymous)):
                if answer.status_code in _DENIED and self._sign_in(answer, method, user):
                    again = self._send(method, path, content, kind, how)
                    answer = again if user or again.status_code not in _DENIED else answer
        if answer.status_code not in expect:
            raise self._error(path, f"{answer.status_code} {_said(answer)}", denied=answer.status_code in _DENIED)
        return answer

    def _send(
        self, method: str, path: str, content: Path | bytes, kind: str, how: Mapping[str, Any]
    ) -> requests.Response:
        headers = {"Accept": kind} if kind and not content else {"Content-Type": kind or _BLOB}
        options: dict[str, Any] = {"headers": headers, "timeout": (20, 300), **how}
        # Of an empty file requests cannot tell the length, and would send it in chunks.
        file = content if isinstance(content, Path) and content.stat().st_size else None
        try:
            with file.open("rb") if file else nullcontext(content if isinstance(content, bytes) else b"") as data:
                return self._session.request(method, urljoin(self._root, path), data=data, **options)
        except requests.RequestException as error:
            raise self._error(path, f"no answer: {type(error).__name__}: {error}") from error

    def _sign_in(self, answer: requests.Response, method: str, user: str) -> bool:
        self._challenge = answer.headers.get("WWW-Authenticate") or self._challenge
        scheme, _, rest = self._challenge.partition(" ")
        self._authorization = ""  # GitHub's token endpoint is on the same host, and refuses an old token
        if scheme.lower() == "basic" and user:
            self._authorization = f"Basic {user}"
            return True
        asked = parse_dict_header(rest) if scheme.lower() == "bearer" else {}
        realm = urlsplit(asked.get("realm") or "")
        if realm.scheme != "https" and realm.hostname not in _LOOPBACK:
            return False
        headers = {"Authorization": f"Basic {user}"} if user else {}
        # As clients for images do, a token for both: of a new repository a registry may refuse one that only reads.
        actions = ["pull,push,delete"] if method == "DELETE" else ["pull,push", "pull"] if user else ["pull"]
        for action in actions:
            scope = {"service": asked.get("service"), "scope": f"repository:{self._name}:{action}"}
            try:
                given = self._session.get(realm.geturl(), params=scope, headers=headers, timeout=60)
            except requests.RequestException as error:
                raise self._error("", f"no answer of {realm.netloc}: {error}") from error
            if given.ok:
                said = given.json()
                self._authorization = f"Bearer {said.get('token') or said.get('access_token')}"
                return True
        return False

    def _error(self, where: str, said: str, *, denied: bool = False) -> SluiceError:
        remedy = _RIGHTS if denied else "check the address and the registry; what was uploaded is not sent again"
        return SluiceError(f"{self}: {urlsplit(where).path}: {said}", remedy=remedy)


class GithubRegistry(OciRegistry):
    """GitHub's registry, which deletes by GitHub's API: each manifest is a version of a package."""

    def delete(self, tag: str) -> None:
        api = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
        owner, _, package = self._name.partition("/")
        kind = self._call("GET", f"{api}/users/{owner}").json()["type"]
        folder = "orgs" if kind == "Organization" else "users"
        page = f"{api}/{folder}/{owner}/packages/container/{package.replace('/', '%2F')}/versions"
        listing = f"{page}?per_page=100"
        while listing:
            listed = self._call("GET", listing)
            for version in listed.json():
                if version["metadata"]["container"]["tags"] == [tag]:
                    self._call("DELETE", f"{page}/{version['id']}")
            listing = listed.links["next"]["url"] if "next" in listed.links else ""

    def _call(self, method: str, url: str) -> requests.Response:
        token = base64.b64decode(credentials(self._host)).decode().partition(":")[2]
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
        return self._ask(method, url, expect=(200, 204), headers=headers)


def _said(answer: requests.Response) -> str:
    """Return the error of an answer, in the registry's or in GitHub's form."""
    try:
        body = answer.json()
        first = (body.get("errors") or [body])[0]
        return str(first.get("message") or answer.reason)
    except (ValueError, AttributeError, IndexError):
        return str(answer.reason)


def credentials(host: str) -> str:
    """Return `user:password` in base64, or an empty string, as `docker login` noted it.

    For GitHub's registry GITHUB_TOKEN or GH_TOKEN come before it, and the token of gh after it."""
    given = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN")
    if not (host == GITHUB and given) and (noted := _noted(host)):
        return noted
    token = github_token() if host == GITHUB else ""
    return _encoded(os.environ.get("GITHUB_ACTOR") or "token", token) if token else ""


def github_token() -> str:
    return os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or _printed("gh", "auth", "token")


def _noted(host: str) -> str:
    """Return what Docker's configuration, or the program that it names, has for a registry."""
    file = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker", "config.json")
    try:
        config = json.loads(file.read_text())
    except FileNotFoundError:
        return ""
    except ValueError as error:
        raise SluiceError(f"{file}: not JSON: {error}", remedy="run `docker login` to write it again") from None
    if noted := config.get("auths", {}).get(host, {}).get("auth"):
        return str(noted)
    helper = config.get("credHelpers", {}).get(host) or config.get("credsStore")
    said = _printed(f"docker-credential-{helper}", "get", given=host) if helper else ""
    found = json.loads(said) if said.startswith("{") else {}
    return _encoded(found["Username"], found["Secret"]) if found.get("Secret") else ""


def _printed(*words: str, given: str = "") -> str:
    try:
        done = subprocess.run(words, input=given, capture_output=True, text=True, check=False, timeout=60)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()
