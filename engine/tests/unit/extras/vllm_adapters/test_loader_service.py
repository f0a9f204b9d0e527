import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from sluice.core.errors import SluiceError
from sluice.core.processes import free_port
from sluice.extras.vllm_adapters import cli
from sluice.extras.vllm_adapters.adapter_loader import AdapterStatus
from sluice.extras.vllm_adapters.loader_service import await_adapter, create_loader_app
from support.local_server import QuietHandler, in_thread
from unit.extras.vllm_adapters.releases import ReleaseShelf
from unit.extras.vllm_adapters.vllm_process import played_adapter

STATES = {
    "r-00000000000a": AdapterStatus("registered"),
    "r-00000000000b": AdapterStatus("refused", "the sha256 is another"),
}


@pytest.mark.parametrize("ready", [True, False])
def test_what_the_loader_says(ready: bool) -> None:
    loader: Any = SimpleNamespace(ready=ready, states=STATES, fault="" if ready else "vLLM does not respond")
    client = TestClient(create_loader_app(loader, lambda: ready))
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == (200 if ready else 503)
    assert client.get("/readyz").text == ("ready" if ready else "vLLM does not respond")
    assert client.get("/adapters").json()["r-00000000000b"] == {"state": "refused", "reason": "the sha256 is another"}
    lines = client.get("/metrics/").text.splitlines()
    assert f"sluice_vllm_ready {float(ready)}" in lines
    assert 'sluice_vllm_adapters{state="registered"} 1.0' in lines
    assert 'sluice_vllm_adapters{state="refused"} 1.0' in lines
    assert 'sluice_vllm_adapters{state="waiting"} 0.0' in lines
    assert client.get("/metrics").is_success, "as Prometheus asks, without a slash at its end"


pytestmark = pytest.mark.usefixtures("loopback")


@pytest.fixture
def shelf(tmp_path: Path) -> ReleaseShelf:
    return ReleaseShelf(tmp_path)


@contextmanager
def loader(host: str, port: int, *states: dict[str, Any]) -> Iterator[str]:
    """Answer with these states in turn, then with the last."""
    left = list(states)

    class Answers(QuietHandler):
        def do_GET(self) -> None:
            self.reply(200, json.dumps(left.pop(0) if len(left) > 1 else left[0]).encode())

    family = type(
        "Server", (ThreadingHTTPServer,), {"address_family": socket.AF_INET6 if ":" in host else socket.AF_INET}
    )
    with in_thread(family((host, port), Answers)):
        yield f"http://{host}:{port}"


def test_it_waits_until_the_adapter_is_registered_and_says_for_what(shelf: ReleaseShelf) -> None:
    made, shown = shelf.make(played_adapter("alpha")), []  # type: ignore[var-annotated]
    states = ({}, {made.id: {"state": "waiting"}}, {made.id: {"state": "registered"}})
    with loader("127.0.0.1", free_port(), *states) as url:
        found = await_adapter(shelf.made / made.id, url, seconds=60, show=shown.append)
    assert found == f"{made.id} is registered"
    assert [line.rpartition(": ")[2] for line in shown] == ["not known yet", "waiting"]


def test_every_vllm_behind_the_name_is_asked(shelf: ReleaseShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    made, port = shelf.make(played_adapter("alpha")), free_port()
    both = [(0, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.1", "::1")]
    usual = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **how: both if host == "vllm-pods" else usual(host, *rest, **how)
    )
    has, lacks = {made.id: {"state": "registered"}}, {made.id: {"state": "waiting"}}
    with loader("127.0.0.1", port, has), loader("::1", port, lacks), pytest.raises(SluiceError) as caught:
        await_adapter(shelf.made / made.id, f"http://vllm-pods:{port}", seconds=0, show=print)
    assert "[::1]" in caught.value.message
    assert "127.0.0.1" not in caught.value.message


def test_a_refused_adapter_ends_it_with_the_reason(shelf: ReleaseShelf) -> None:
    made = shelf.make(played_adapter("alpha"))
    with (
        loader("127.0.0.1", free_port(), {made.id: {"state": "refused", "reason": "the sha256 is another"}}) as url,
        pytest.raises(SluiceError, match="is refused: the sha256 is another"),
    ):
        await_adapter(shelf.made / made.id, url, seconds=600, show=print)


def test_no_vllm_at_all_is_said_when_the_time_is_over(shelf: ReleaseShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    made = shelf.make(played_adapter("alpha"))
    with pytest.raises(SluiceError, match=r"no answer \(ConnectError\)"):
        await_adapter(shelf.made / made.id, f"http://127.0.0.1:{free_port()}", seconds=0, show=print)

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(SluiceError, match="no vLLM is ready"):
        await_adapter(shelf.made / made.id, "http://vllm-pods:8001", seconds=0, show=print)


def test_a_release_that_asks_no_vllm_waits_for_nothing_and_an_old_one_is_made_again(
    shelf: ReleaseShelf,
) -> None:
    local = shelf.made / shelf.make({}, kind="local").id
    base = shelf.made / shelf.make({}, adapter=False).id
    for folder, said in ((local, "asks no vLLM"), (base, "asks the base model")):
        done = CliRunner().invoke(cli.group, ["await", str(folder), "--loaders", "http://127.0.0.1:1"])
        assert done.exit_code == 0
        assert said in done.output
    folder = shelf.made / shelf.make({}).id
    with pytest.raises(SluiceError, match=r"no adapter for vLLM is pinned\n.*make the release again"):
        await_adapter(folder, "http://127.0.0.1:1", seconds=0, show=print)
