"""GitHub's registry, where it differs from others, and which repository the store `github` means.

The double answers as ghcr.io and api.github.com do, by these sources:
- renovatebot/renovate issue 11446: with any `Authorization` that it does not take, ghcr.io answers 403 DENIED, and
  without a `WWW-Authenticate` header.
- cloudflare/serverless-registry issue 148: the challenge names a placeholder, `scope="repository:user/image:pull"`, and
  who has no credentials is refused a token for `pull,push`, not one for `pull`.
- radius-project/radius pull request 12623: tokens are opaque; who may write shows by the answer to the first upload.
- docs.github.com/rest/packages, API version 2022-11-28: versions of a package are listed and deleted under the user or
  the organisation that owns it; each has `metadata.container.tags`.
"""

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.registry import oci_registry
from sluice.extras.registry.oci_registry import GithubRegistry
from sluice.extras.registry.registry_store import RegistryStore
from sluice.release.artifact_store import open_artifact_store
from sluice.release.environment_record import shared_address
from support.local_server import QuietHandler, local_server

TOKEN = "of-the-job"  # pragma: allowlist secret
DIGEST = "a" * 64


@dataclass
class GithubDouble:
    """`versions`: {id: tags}; `owner`: User or Organization; `asked`: method and path of each request."""

    host: str = ""
    public: bool = False
    may_write: bool = True
    owner: str = "User"
    versions: dict[int, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, loopback: None) -> Iterator[GithubDouble]:  # noqa: ARG001
    double = GithubDouble()

    class Handler(QuietHandler):
        def _handle(self) -> None:
            path, _, query = self.path.partition("?")
            double.asked.append(f"{self.command} {self.path}")
            given = self.headers.get("Authorization", "")
            if path == "/token":
                self._token(query, given)
            elif path.startswith("/v2/"):
                self._registry(given)
            elif given != f"Bearer {TOKEN}":
                self._answer(401, {"message": "Bad credentials"})
            else:
                self._api(path, query)

        def _token(self, query: str, given: str) -> None:
            user = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")[2] if given else ""
            if not user and "push" in query:
                self._denied()
            else:
                self._answer(200, {"token": base64.b64encode(user.encode()).decode() or "anonymous"})

        def _registry(self, given: str) -> None:
            if not given:
                challenge = (
                    f'Bearer realm="http://{double.host}/token",service="ghcr.io",scope="repository:user/image:pull"'
                )
                self._answer(401, {"errors": [{"message": "authentication required"}]}, {"WWW-Authenticate": challenge})
                return
            known = given == f"Bearer {base64.b64encode(TOKEN.encode()).decode()}"
            reads = self.command in ("GET", "HEAD")
            if (known and (reads or double.may_write)) or (double.public and reads and given == "Bearer anonymous"):
                self._answer(404 if reads else 202, {}, {"Location": "/v2/upload"})
            else:
                self._denied()

        def _api(self, path: str, query: str) -> None:
            folder = "orgs" if double.owner == "Organization" else "users"
            listing = f"/{folder}/octo/packages/container/app-artifacts/versions"
            if path == "/users/octo":
                self._answer(200, {"type": double.owner})
            elif self.command == "DELETE" and path.startswith(f"{listing}/"):
                del double.versions[int(path.rpartition("/")[2])]
                self._answer(204, None)
            elif path == listing:
                all_ids = sorted(double.versions)
                first = "page=2" not in query
                ids = all_ids[:2] if first else all_ids[2:]
                link = {"Link": f'<http://{double.host}{listing}?page=2>; rel="next"'} if first else {}
                body = [{"id": id, "metadata": {"container": {"tags": double.versions[id]}}} for id in ids]
                self._answer(200, body, link)
            else:
                self._answer(404, {"message": "Not Found"})

        def _denied(self) -> None:
            self._answer(403, {"errors": [{"code": "DENIED", "message": "permission_denied: write_package"}]})

        def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            content = b"" if body is None or self.command == "HEAD" else json.dumps(body).encode()
            self.reply(status, content, headers=headers)

    for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._handle)
    with local_server(Handler) as address:
        double.host = address.removeprefix("http://")
        monkeypatch.setattr(oci_registry, "GITHUB", double.host)
        monkeypatch.setenv("GITHUB_API_URL", address)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        yield double


def client(double: GithubDouble) -> GithubRegistry:
    return GithubRegistry(double.host, "octo/app-artifacts")


def test_the_token_of_the_job_is_exchanged_and_the_placeholder_is_not_asked_for(github: GithubDouble) -> None:
    assert not client(github).has(DIGEST)
    (exchanged,) = [one for one in github.asked if "/token" in one]
    assert "scope=repository%3Aocto%2Fapp-artifacts%3Apull%2Cpush" in exchanged
    assert "user%2Fimage" not in exchanged


def test_a_job_without_the_right_is_told_which_one(github: GithubDouble, tmp_path: Path) -> None:
    github.may_write = False
    (tmp_path / "blob").write_bytes(b"x")
    with pytest.raises(SluiceError, match="403 permission_denied: write_package") as caught:
        client(github).put(DIGEST, tmp_path / "blob")
    assert "`packages: write`" in caught.value.remedy
    assert TOKEN not in str(caught.value)


def test_a_public_package_is_read_with_a_token_that_is_not_meant_for_it(
    github: GithubDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "without-read-packages")
    with pytest.raises(SluiceError, match="403"):
        client(github).has(DIGEST)
    github.public = True
    assert not client(github).has(DIGEST)


@pytest.mark.parametrize(("owner", "folder"), [("User", "users"), ("Organization", "orgs")])
def test_a_release_is_deleted_as_a_version_of_the_package(github: GithubDouble, owner: str, folder: str) -> None:
    github.owner = owner
    github.versions = {1: ["r-1"], 2: [], 3: ["r-3"], 4: ["r-2"]}
    client(github).delete("r-2")
    client(github).delete("r-9")
    assert github.versions == {1: ["r-1"], 2: [], 3: ["r-3"]}
    assert f"DELETE /{folder}/octo/packages/container/app-artifacts/versions/4" in github.asked


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GITHUB_REPOSITORY", "GITHUB_SERVER_URL", "GITHUB_TOKEN", "GH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "checkout")], check=True)
    monkeypatch.chdir(tmp_path / "checkout")
    return tmp_path / "checkout"


def opened(address: str) -> tuple[str, str]:
    store = open_artifact_store(address)
    assert isinstance(store, RegistryStore)
    return str(store), store._record


@pytest.mark.parametrize(
    "origin",
    [
        "https://github.com/Octo/App.git",
        "git@github.com:Octo/App.git",
        "https://user@github.com/Octo/App/",
    ],
)
def test_on_a_laptop_github_is_where_origin_is(checkout: Path, origin: str) -> None:
    subprocess.run(["git", "-C", str(checkout), "remote", "add", "origin", origin], check=True)
    assert opened("github") == ("oci://ghcr.io/octo/app-artifacts", origin)


@pytest.mark.usefixtures("checkout")
def test_in_a_job_it_is_the_repository_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", "Octo/App")
    assert opened("github") == ("oci://ghcr.io/octo/app-artifacts", "https://github.com/Octo/App")
    assert shared_address({"GITHUB_ACTIONS": "true"}) == "github"
    assert shared_address({"GITHUB_ACTIONS": "true", "SLUICE_ARTEFACTS": "s3://bucket"}) == "s3://bucket"
    assert shared_address({}) == ""


@pytest.mark.parametrize("origin", ["", "https://github.com.example/octo/app"])
def test_elsewhere_it_is_said_that_no_repository_is_known(checkout: Path, origin: str) -> None:
    if origin:
        subprocess.run(["git", "-C", str(checkout), "remote", "add", "origin", origin], check=True)
    with pytest.raises(SluiceError, match=r"github: .*origin"):
        open_artifact_store("github")


@pytest.mark.parametrize("address", ["oci://ghcr.io", "oci://ghcr.io/Octo/App", "github://octo/app"])
def test_addresses_that_are_not_of_a_registry(address: str) -> None:
    with pytest.raises(SluiceError, match="not an artifact store") as caught:
        open_artifact_store(address)
    assert "oci://ghcr.io/octo/app-artifacts" in caught.value.remedy


@pytest.mark.usefixtures("checkout")
def test_a_record_that_is_nowhere_is_asked_for_when_it_is_needed() -> None:
    store = open_artifact_store("oci://registry.example/octo/app")
    with pytest.raises(SluiceError, match="where is its record") as caught:
        store.notes("record/production")
    assert "oci://registry.example/octo/app#<remote>" in caught.value.remedy
