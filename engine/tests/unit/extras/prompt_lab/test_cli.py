import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.cli import main
from sluice.core.processes import free_port
from sluice.core.workspace import Workspace


@pytest.fixture
def tried(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []

    def serve(bundle: str, host: str, *_: Any, **named: Any) -> None:
        named["ready"]()
        done.append(f"{bundle} on {host}, keyless {named['keyless']}, with {named['parts']}")

    lab = SimpleNamespace(prompt_lab=lambda _, bundle: f"the lab of {bundle}")
    monkeypatch.setitem(sys.modules, "sluice.extras.prompt_lab.lab", lab)
    monkeypatch.setattr("sluice.release.starter.place", lambda of: done.append(f"placed in {of.root.name}"))
    monkeypatch.setattr("sluice.serving.release_parts.draft_bundle", lambda *_, **__: "the draft")
    monkeypatch.setattr("sluice.serving.server.serve", serve)
    monkeypatch.setattr("webbrowser.open", lambda _: pytest.fail("there is no display"))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.chdir(workspace.root)
    return done


def test_try_serves_the_placed_starter_on_this_machine_alone(
    tried: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setenv("TRY_BEGAN", "1000")
    monkeypatch.setattr("time.time", lambda: 1052.0)
    monkeypatch.setattr(sys, "argv", ["sluice", "try", "--port", str(port)])
    assert main() == 0
    assert tried == ["placed in checkout", "the draft on 127.0.0.1, keyless True, with ['the lab of the draft']"]
    *_, address, last = capsys.readouterr().out.splitlines()
    assert f"http://127.0.0.1:{port}/try" in address
    assert last.startswith("Ready after 52 s. Next: `make release`")


def test_try_names_a_port_that_is_taken_before_it_does_anything(
    tried: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["sluice", "try", "--port", str(port)])
        assert main() == 1
    assert f"{port}: the port is already taken" in capsys.readouterr().err
    assert tried == []
