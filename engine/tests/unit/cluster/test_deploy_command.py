"""`sluice deploy` as a process: what an interrupt leaves behind, and what the exit code says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.kubernetes.api_server import KubeApi, serving

from .cluster import IMAGE, checkout, hold, recording, release

Start = Callable[[], subprocess.Popen[str]]
COMMAND = [str(Path(sys.executable).with_name("sluice")), "deploy", "--env", "local", "--image", IMAGE]


@pytest.fixture
def api(loopback: None) -> Iterator[KubeApi]:  # noqa: ARG001
    with serving(KubeApi()) as stub:
        hold(stub)
        yield stub


@pytest.fixture
def start(api: KubeApi, tmp_path: Path) -> Start:
    workspace = checkout(tmp_path / "checkout")
    manifest = release()
    folder = workspace.releases / manifest.id
    folder.mkdir(parents=True)
    (folder / "release.json").write_bytes(manifest.to_bytes())
    environment = {**os.environ, "KUBECONFIG": str(api.kubeconfig(tmp_path / "kubeconfig"))}
    environment |= {"KUBECACHEDIR": str(tmp_path / "kubecache"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}

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


def test_an_interrupt_leaves_the_rollout_going(api: KubeApi, start: Start) -> None:
    events = recording("promoted")["events"]
    api.recording = {"events": events[:5]}
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
    rollout = api.objects[api.path("Rollout", "sluice")]
    assert not rollout["status"].get("abort")
    second = start()
    assert second.stdout is not None
    seen = []
    for line in second.stdout:
        seen.append(line)
        if "under way; watching the rest" in line:
            api.play(events[5:])
    assert second.wait(120) == 0
    assert f"{release().id} is live in local\n" in seen
    assert api.objects[api.path("Rollout", "sluice")]["metadata"]["generation"] == 2


def test_a_stop_is_exit_code_1_and_in_the_summary(api: KubeApi, start: Start, tmp_path: Path) -> None:
    api.recording = recording("stopped")
    api.logs["load-1-abc"] = "p95 of ttft is 1900 ms, the limit is 1200 ms\n"
    process = start()
    said, error = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "p95 of ttft is 1900 ms" in said
    assert "value [2.75]; must hold: len(result) == 1 && result[0] <= 1.5" in error
    assert "[2.75]" in (tmp_path / "summary.md").read_text()
