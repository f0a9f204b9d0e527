import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.extras.registry import oci_registry
from sluice.extras.registry.oci_registry import OciRegistry, credentials
from support.local_server import QuietHandler, local_server
from unit.extras.registry.stores import RegistryServer, registry_server
from unit.extras.registry.token_server import TokenServer, token_server

NAME = "octo/app-artifacts"
WRITER, READER = {"pull", "push", "delete"}, {"pull"}

pytestmark = pytest.mark.usefixtures("loopback")


@pytest.fixture(autouse=True)
def _no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_ACTOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


@pytest.fixture
def blob(tmp_path: Path) -> tuple[str, Path]:
    path = tmp_path / "blob"
    path.write_bytes(b"0123456789abcdef" * 200_000)
    return digest_of_file(path), path


@dataclass
class Guarded:
    registry: RegistryServer
    tokens: TokenServer
    home: Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.registry.port}"

    def client(self) -> OciRegistry:
        return OciRegistry(self.host, NAME)

    def sign_in(self, user: str, rights: set[str], password: str = "") -> None:
        word = base64.b64encode(f"{user}:{password or f'password of {user}'}".encode()).decode()
        self.home.mkdir(exist_ok=True)
        (self.home / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": word}}}))
        self.tokens.rights[user] = rights


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    with ExitStack() as stack:
        tokens = stack.enter_context(token_server(tmp_path / "tokens"))
        registry = stack.enter_context(registry_server(tmp_path / "server", **tokens.settings))
        yield Guarded(registry, tokens, tmp_path / "docker")


def test_tokens_open_a_registry_for_every_call(guarded: Guarded, blob: tuple[str, Path], tmp_path: Path) -> None:
    guarded.sign_in("writer", WRITER)
    client = guarded.client()
    assert not client.has(blob[0])
    client.put(*blob)
    client.tag("r-0", blob[1].parent, dict([blob]), "https://github.com/octo/app")
    assert [*guarded.client().tags()] == ["r-0"]
    assert guarded.client().get(blob[0], tmp_path / "copy")
    guarded.client().delete("r-0")
    assert [*guarded.client().tags()] == []
    assert {user for user, _ in guarded.tokens.asked} == {"writer"}
    scopes = {scope.removeprefix(f"repository:{NAME}:") for _, scope in guarded.tokens.asked}
    assert scopes == {"pull,push", "pull,push,delete"}


def test_a_token_that_has_expired_is_asked_for_again(guarded: Guarded, blob: tuple[str, Path]) -> None:
    guarded.sign_in("writer", WRITER)
    guarded.client().put(*blob)
    client = guarded.client()
    guarded.tokens.expired = 1
    with pytest.raises(SluiceError, match="401"):
        client.has(blob[0])
    held = client._authorization
    assert client.has(blob[0])
    assert client._authorization != held


def test_what_is_public_is_read_without_credentials_and_with_wrong_ones(
    guarded: Guarded, blob: tuple[str, Path], tmp_path: Path
) -> None:
    guarded.sign_in("writer", WRITER)
    guarded.client().put(*blob)
    guarded.tokens.rights[""] = READER
    guarded.sign_in("stranger", set(), password="wrong")  # pragma: allowlist secret
    assert guarded.client().get(blob[0], tmp_path / "copy")
    (guarded.home / "config.json").unlink()
    assert guarded.client().get(blob[0], tmp_path / "copy")
    with pytest.raises(SluiceError, match="401"):
        guarded.client().put(*blob)


def test_credentials_come_from_the_program_that_docker_names(guarded: Guarded, tmp_path: Path) -> None:
    guarded.sign_in("writer", WRITER)
    (guarded.home / "config.json").write_text(json.dumps({"auths": {guarded.host: {}}, "credsStore": "test"}))
    program(tmp_path, "docker-credential-test", """cat > /dev/null; echo '{"Username": "u", "Secret": "s"}'""")
    assert base64.b64decode(credentials(guarded.host)) == b"u:s"
    program(tmp_path, "docker-credential-test", "echo credentials not found; exit 1")
    assert credentials(guarded.host) == ""


def program(folder: Path, name: str, script: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_github_s_registry_takes_the_token_of_the_job_then_docker_s_then_that_of_gh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert credentials("ghcr.io") == ""
    program(tmp_path, "gh", '[ "$*" = "auth token" ] && echo of-gh')
    assert base64.b64decode(credentials("ghcr.io")) == b"token:of-gh"
    assert credentials("registry.example") == ""
    (tmp_path / "docker").mkdir()
    noted = {"auths": {"ghcr.io": {"auth": base64.b64encode(b"me:of-docker").decode()}}}
    (tmp_path / "docker" / "config.json").write_text(json.dumps(noted))
    assert base64.b64decode(credentials("ghcr.io")) == b"me:of-docker"
    monkeypatch.setenv("GITHUB_TOKEN", "of-the-job")
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    assert base64.b64decode(credentials("ghcr.io")) == b"octocat:of-the-job"
    assert credentials("registry.example") == ""
    (tmp_path / "docker" / "config.json").write_text("{")
    with pytest.raises(SluiceError, match=r"config\.json: not JSON"):
        credentials("registry.example")


@pytest.fixture
def open_registry(tmp_path: Path) -> Iterator[RegistryServer]:
    with registry_server(tmp_path / "server") as server:
        yield server


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    send = requests.Session.send

    def noted(self: requests.Session, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        found.append(f"{request.method} {request.path_url.partition('?')[0].removeprefix(f'/v2/{NAME}/')}")
        return send(self, request, **how)

    monkeypatch.setattr(requests.Session, "send", noted)
    return found


def test_an_upload_that_breaks_off_is_begun_anew(
    open_registry: RegistryServer, blob: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = OciRegistry(f"127.0.0.1:{open_registry.port}", NAME)
    ask, forgotten = OciRegistry._ask, []

    def forget(self: OciRegistry, method: str, path: str, **how: Any) -> requests.Response:
        answer = ask(self, method, path, **how)
        if method == "POST" and len(forgotten) < 2:
            forgotten.append(answer.headers["Location"])
            ask(self, "DELETE", forgotten[-1], expect=(204,))
        return answer

    monkeypatch.setattr(OciRegistry, "_ask", forget)
    client.put(*blob)
    assert len(forgotten) == 2
    assert client.get(blob[0], tmp_path / "copy")


def test_a_download_that_breaks_off_is_begun_anew(tmp_path: Path) -> None:
    left = [2]

    class Cutting(QuietHandler):
        def do_GET(self) -> None:
            body = b"x" * (10 if left[0] else 1000)
            left[0] = max(0, left[0] - 1)  # before the client, which sets it as well, can have the answer
            self.reply(200, body, headers={"Content-Length": "1000"})

    with local_server(Cutting) as address:
        client = OciRegistry(address.removeprefix("http://"), NAME)
        assert client.get("a" * 64, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == b"x" * 1000
        left[0] = 3
        with pytest.raises(SluiceError, match=f"sha256:{'a' * 64}: .*IncompleteRead"):
            client.get("a" * 64, tmp_path / "copy")


def test_a_file_that_is_not_what_its_digest_says_is_refused_by_the_registry(
    open_registry: RegistryServer, blob: tuple[str, Path], sent: list[str]
) -> None:
    client = OciRegistry(f"127.0.0.1:{open_registry.port}", NAME)
    with pytest.raises(SluiceError, match="400 provided digest did not match uploaded content"):
        client.put("0" * 64, blob[1])
    assert not client.has("0" * 64)
    assert len([one for one in sent if one.startswith("PUT")]) == 3


def test_a_registry_that_is_not_there_is_named(blob: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oci_registry, "_RETRY", 0)
    with pytest.raises(SluiceError, match=r"oci://127\.0\.0\.1:9/octo/app-artifacts: .*no answer: ConnectionError"):
        OciRegistry("127.0.0.1:9", NAME).has(blob[0])


def test_a_manifest_names_the_files_and_tags_of_all_pages_are_found_but_those_of_others(
    open_registry: RegistryServer, blob: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci_registry, "_PAGE", 2)
    client = OciRegistry(f"127.0.0.1:{open_registry.port}", NAME)
    assert client.tags() == {}
    client.put(*blob)
    (blob[1].parent / "model").write_bytes(b"of another folder")
    other = digest_of_file(blob[1].parent / "model")
    client.put(other, blob[1].parent / "model")
    folder = blob[1].parent / "release"
    folder.mkdir()
    path = blob[1].rename(folder / "adapter.gguf")
    blobs = {blob[0]: path, other: path.parents[1] / "model"}
    client.tag("r-0", folder, blobs, "https://github.com/octo/app")
    url = f"http://127.0.0.1:{open_registry.port}/v2/{NAME}/manifests/"
    kind = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    manifest = requests.get(f"{url}r-0", headers=kind, timeout=60).json()
    found = {layer["digest"]: layer.get("annotations") for layer in manifest["layers"]}
    named = {"org.opencontainers.image.title": "adapter.gguf"}
    assert found == {f"sha256:{blob[0]}": named, f"sha256:{other}": None}
    assert manifest["annotations"]["org.opencontainers.image.source"] == "https://github.com/octo/app"
    foreign = {**manifest, "artifactType": "application/vnd.example"}
    headers = {"Content-Type": kind["Accept"]}
    assert requests.put(f"{url}v1", json=foreign, headers=headers, timeout=60).status_code == 201
    names = [f"r-{number}" for number in range(5)]
    for name in names[1:]:
        client.tag(name, folder, blobs, "")
    assert sorted(client.tags()) == names


def test_a_token_is_given_to_the_registry_alone(guarded: Guarded, blob: tuple[str, Path]) -> None:
    guarded.sign_in("writer", WRITER)
    client = guarded.client()
    client.put(*blob)
    for url, given in ((f"http://{guarded.host}/v2/", True), ("https://blobs.example/x", False)):
        assert ("Authorization" in client(requests.Request("GET", url).prepare()).headers) == given
