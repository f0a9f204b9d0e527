"""The official JavaScript SDK (npm's openai, pinned by javascript/package-lock.json), unchanged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from unit.serving.process import Service

pytestmark = [pytest.mark.usefixtures("loopback"), pytest.mark.timeout(1800)]
HERE = Path(__file__).parent / "javascript"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the SDK; skipped where there is no node, or npm cannot fetch it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not on this machine")
    folder = tmp_path_factory.mktemp("javascript")
    for file in HERE.iterdir():
        shutil.copy(file, folder)
    call = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000"]
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode and "EINTEGRITY" not in done.stderr and "EUSAGE" not in done.stderr:
        pytest.skip(f"npm cannot fetch the SDK here: {done.stderr.strip().splitlines()[:1]}")
    assert done.returncode == 0, done.stderr
    return folder


def test_the_javascript_sdk(installed: Path, service: Service, secret: str, request: pytest.FixtureRequest) -> None:
    call = ["node", "client.mjs", service.url]
    environment = {**os.environ, "SLUICE_KEY": secret, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        call, cwd=installed, env=environment, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for called in found["called"]:
        assert called["name"] == "weather"
        assert isinstance(json.loads(called["arguments"])["city"], str)
    assert set(found["parsed"]) == set(json.loads(found["text"])) == {"answer", "tokens"}
    assert found["last"] == "response.completed"
    assert found["refused"] == {"status": 400, "param": "n"}
    if service is request.getfixturevalue("scripted"):
        assert found["parsed"] == {"answer": "64 tokens", "tokens": 64}
        assert found["response"] == "64 tokens"
