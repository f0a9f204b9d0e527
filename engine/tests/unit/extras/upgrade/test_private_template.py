from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.upgrade import versions
from support.local_server import in_thread
from unit.data.conftest import git

TOKEN = "reader"  # pragma: allowlist secret


@pytest.fixture
def server(tmp_path: Path, loopback: None) -> Iterator[tuple[str, list[str]]]:  # noqa: ARG001 - opens the network
    """The address of a server of repositories, read as files over HTTP by who has the token, as git-http-backend(1)
    calls the dumb protocol; and what it was shown."""
    made = tmp_path / "made"
    made.mkdir()
    git(made, "init", "--quiet", "--initial-branch", "main")
    git(made, "commit", "--quiet", "--allow-empty", "--message", "One")
    git(made, "tag", "v0.2.0")
    git(made, "tag", "v0.10.0")
    served = tmp_path / "served"
    git(tmp_path, "clone", "--quiet", "--bare", str(made), str(served / "makers" / "template.git"))
    git(served / "makers" / "template.git", "update-server-info")
    shown: list[str] = []
    right = "basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers.get("Authorization", ""))
            if shown[-1] != right:
                self.send_error(404)  # as GitHub answers about what one may not see
                return
            self.path = self.path.partition("?")[0]
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), lambda *words: Handler(*words, directory=str(served)))
    with in_thread(http):
        yield f"http://127.0.0.1:{http.server_port}", shown


def test_its_versions_are_listed_and_fetched_with_the_token_alone(
    server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, shown = server
    monkeypatch.setattr(versions, "SERVER", url)
    monkeypatch.setenv("GITHUB_SERVER_URL", url)
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    address = versions.address_of("makers/template")
    assert versions.released(tmp_path, address) == ["0.2.0", "0.10.0"]
    shown.clear()
    place = tmp_path / "place"
    place.mkdir()
    with suppress(SluiceError):  # this protocol knows no --depth, which comes after the sign-in
        versions.fetch_version(address, "0.2.0", place)
    assert shown
    assert "" not in shown
    monkeypatch.setenv("GITHUB_TOKEN", "of-another-repository")
    with pytest.raises(SluiceError) as caught:
        versions.released(tmp_path, address)
    assert "UPGRADE_TOKEN that may read it" in caught.value.remedy
    monkeypatch.delenv("GITHUB_SERVER_URL")  # the token is for github.com then
    shown.clear()
    with pytest.raises(SluiceError):
        versions.released(tmp_path, address)
    assert set(shown) == {""}, "another server is shown none"
