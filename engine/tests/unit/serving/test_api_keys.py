import json
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.serving.api_keys import PREFIX, add_key, digest_of_key, id_of, read_keys, revoke_key


def add(path: Path, name: str = "web", tenant: str | None = None, rate: int = 60) -> str:
    return add_key(path, name, tenant=tenant, scopes=["feedback", "chat"], rate=rate)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "keys.json"


def test_the_file_holds_the_hash_and_not_the_key(path: Path) -> None:
    secret = add(path, tenant="acme")
    (key,) = read_keys(path).keys
    assert secret.startswith(f"{PREFIX}{key.id}_")
    assert id_of(secret) == key.id
    assert key.sha256 == digest_of_key(secret)
    assert (key.name, key.tenant, key.scopes, key.rate, key.revoked) == ("web", "acme", ("chat", "feedback"), 60, None)
    content = path.read_text()
    assert secret not in content
    assert secret.removeprefix(PREFIX).partition("_")[2] not in content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_revoked_key_stays_in_the_list_and_its_name_is_free_again(path: Path) -> None:
    add(path)
    add(path, "other")
    revoke_key(path, "web")
    add(path)
    assert [(key.name, key.revoked is None) for key in read_keys(path).keys] == [
        ("web", False),
        ("other", True),
        ("web", True),
    ]
    assert [key.name for key in read_keys(path).in_force] == ["other", "web"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"name": "Web"}, "'Web' cannot be the name of a key"),
        ({"tenant": "a b"}, "'a b' cannot be a tenant"),
        ({"scopes": ["chats"]}, "no scope 'chats' (did you mean 'chat'?)"),
        ({"rate": 0}, "a rate of 0 requests a minute allows no request"),
    ],
)
def test_what_cannot_be_a_key(path: Path, words: dict[str, object], said: str) -> None:
    fields: dict[str, object] = {"name": "web", "tenant": None, "scopes": ["chat"], "rate": 1}
    with pytest.raises(SluiceError) as raised:
        add_key(path, **{**fields, **words})  # type: ignore[arg-type]
    assert said in raised.value.message
    assert raised.value.remedy
    assert not path.exists()


def test_a_broken_file_is_named_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    for content in ("{", "[]", json.dumps({"keys": [{"name": "web", "colour": 1}]})):
        path.write_text(content)
        with pytest.raises(SluiceError, match=r"keys\.json"):
            add(path)
        assert path.read_text() == content


def test_commands_at_the_same_time_lose_no_key(path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda number: add(path, f"k{number}"), range(16)))
    assert len(read_keys(path).in_force) == 16
    with pytest.raises(SluiceError, match="'k0' is in force already"):
        add(path, "k0")
    with pytest.raises(SluiceError, match="no key 'k00' is in force"):
        revoke_key(path, "k00")


def test_the_commands(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, sluice: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.chdir(workspace.root)
    run = partial(sluice, "keys")
    status, secret, said = run("add", "web", "--tenant", "acme", "--scope", "chat", "--rate", "5")
    assert (status, id_of(secret.strip()) is not None) == (0, True)
    assert "keys.json holds its hash" in said
    assert run("add", "scraper", "--scope", "metrics")[0] == 0
    listed = run("list")[1]
    assert secret.strip() not in listed
    assert [line.split()[:1] + line.split()[2:5] for line in listed.splitlines()] == [
        ["web", "acme", "chat", "5/min"],
        ["scraper", "-", "metrics", "60/min"],
    ]
    assert run("revoke", "web")[:2] == (0, "web is revoked\n")
    assert "revoked 20" in run("list")[1]
    assert run("revoke", "web")[0] == 1
