import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.release.verdict import JUDGEMENT, judged
from support.kubernetes.player import Player

from .conftest import IMAGE, checkout, hold, release

Start = Callable[[], subprocess.Popen[str]]
COMMAND = [str(Path(sys.executable).with_name("sluice")), "deploy", "--env", "local", "--image", IMAGE]


@pytest.fixture(autouse=True)
def held(plane: Player) -> None:
    hold(plane)
    plane.hurry(5)


@pytest.fixture
def start(plane: Player, tmp_path: Path) -> Start:
    workspace = checkout(tmp_path / "checkout")
    manifest = release()
    folder = workspace.releases / manifest.id
    folder.mkdir(parents=True)
    (folder / "release.json").write_bytes(manifest.to_bytes())
    evaluation = {"cases_digest": "4" * 64, "metrics": {}}
    fields = {"created": "", "commit": "", "parent": None, "evaluation": evaluation, "gates": []}
    (folder / JUDGEMENT).write_bytes(judged({**fields, "release": manifest.id}).to_bytes())
    environment = {**os.environ, "KUBECONFIG": str(plane.api.kubeconfig(tmp_path / "kubeconfig"))}
    environment |= {"KUBECACHEDIR": str(tmp_path / "kubecache")}

    def begin() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, "--release", manifest.id],
            cwd=workspace.root,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return begin


def test_an_interrupt_leaves_the_rollout_going(plane: Player, start: Start) -> None:
    first = start()
    assert first.stdout is not None
    for line in first.stdout:
        if "canary 10 %" in line:
            break
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=120)
    assert first.returncode == 130
    assert "what was applied stays, and the rollout goes on" in said
    assert f"watch it again: sluice deploy --env local --release {release().id}" in said
    assert "abort it: sluice rollback --env local" in said
    path = plane.api.path("Rollout", "sluice")
    assert not plane.api.objects[path]["status"].get("abort")
    plane.fixed = True  # the clock stands still until somebody watches again
    second = start()
    assert second.stdout is not None
    seen = []
    for line in second.stdout:
        seen.append(line)
        if "under way; watching the rest" in line:
            plane.fixed = False
    assert second.wait(120) == 0
    assert f"{release().id} is live in local\n" in seen
    assert plane.api.objects[path]["metadata"]["generation"] == 2
