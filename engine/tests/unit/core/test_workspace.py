import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace

HOLDER = """
import sys, time
from pathlib import Path
from sluice.core.workspace import Workspace
with Workspace(Path(sys.argv[1])).exclusive():
    print("held", flush=True)
    time.sleep(60)
"""


def test_not_inside_a_checkout(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()  # a folder of that name alone is no checkout
    with pytest.raises(SluiceError, match="not inside a Sluice checkout") as caught:
        Workspace.find(tmp_path / "prompts")
    assert caught.value.remedy


def test_cache_is_the_users(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_CACHE", "/elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert workspace.cache == Path("/elsewhere")
    monkeypatch.delenv("SLUICE_CACHE")
    assert workspace.cache == Path("/xdg/sluice")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert workspace.cache == Path.home() / ".cache" / "sluice"


def test_a_second_release_is_told_who_holds_the_lock(workspace: Workspace) -> None:
    argv = [sys.executable, "-c", HOLDER, str(workspace.root)]
    code = {"PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, **code}) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SluiceError, match=rf"another release runs .*process {holder.pid}\)"), workspace.exclusive():
            pytest.fail("two releases at once")
        holder.kill()
    with workspace.exclusive():  # the kernel freed it
        assert (workspace.state / "lock").read_text() == str(os.getpid())
