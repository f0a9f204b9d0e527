"""Notes in a git repository: pushed over https with a token as on GitHub, and what a server or a line may do to a push.

That writers exclude each other is tested with all stores in test_store_contract.py and test_environment_record.py."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.registry.registry_store import RegistryStore, open_registry_store
from support.git_server import GitServer, git_server
from unit.extras.registry.stores import bare_repository

TOKEN = "of-the-job"  # pragma: allowlist secret


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loopback: None) -> Iterator[GitServer]:  # noqa: ARG001
    (tmp_path / "octo").mkdir()
    bare_repository(tmp_path / "octo" / "app.git")
    with git_server(tmp_path) as running:
        running.rights[TOKEN] = "write"  # pragma: allowlist secret
        monkeypatch.setenv("GITHUB_SERVER_URL", running.url)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        monkeypatch.setenv("GIT_SSL_CAINFO", str(running.certificate))
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        yield running


def refs(server: GitServer) -> RegistryStore:
    return of_record(f"{server.url}/octo/app.git")


def of_record(remote: object) -> RegistryStore:
    """A store whose registry is not there."""
    return open_registry_store(f"oci://127.0.0.1:9/app#{remote}")


def test_a_token_writes_and_reads_and_of_two_writers_one_is_told(server: GitServer) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: refs(server).make("record/staging/000001.json", b"words"), range(2)))
    assert sorted(done) == [False, True]
    assert refs(server).read("record/staging/000001.json") == b"words"


def test_a_token_that_only_reads_is_told_which_right_it_lacks(
    server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refs(server).make("record/staging/000001.json", b"words")
    monkeypatch.setattr("sluice.extras.registry.registry_store._PAUSES_S", (0, 0))
    server.rights[TOKEN] = "read"  # pragma: allowlist secret
    assert refs(server).notes("record/staging") == ["record/staging/000001.json"]
    with pytest.raises(SluiceError, match="403") as caught:
        refs(server).make("record/staging/000002.json", b"words")
    assert "`contents: write`" in caught.value.remedy
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("token", ["", "another"])
def test_without_the_token_nothing_is_read_and_nothing_asked_for(
    server: GitServer, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", token)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(SluiceError, match=r"could not read Username|Authentication failed") as caught:
        refs(server).notes("record/staging")
    assert "GITHUB_TOKEN" in caught.value.remedy


def test_the_token_is_sent_to_github_alone(server: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.test")
    with pytest.raises(SluiceError, match="could not read Username"):
        refs(server).notes("record/staging")


def test_a_repository_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"nowhere\.git"):
        of_record(tmp_path / "nowhere.git").notes("record/staging")


def test_a_push_whose_answer_is_lost_is_made_and_not_told_to_be_another_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_repository(tmp_path / "record.git")
    refs = of_record(tmp_path / "record.git")
    git = RegistryStore._git

    def lost(self: RegistryStore, *words: str, **how: Any) -> str:
        said = git(self, *words, **how)
        if words[0] == "push":
            raise SluiceError("the remote end hung up unexpectedly")
        return said

    monkeypatch.setattr(RegistryStore, "_git", lost)
    assert refs.make("record/staging/000001.json", b"x")
    assert not refs.make("record/staging/000001.json", b"x")
