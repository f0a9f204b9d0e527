from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.rehearsal.services import ReleaseService, ReleaseServiceSpec
from sluice.rollout.chat_stream import request

pytestmark = pytest.mark.usefixtures("loopback")


def test_a_service_gets_a_port_its_environment_and_an_end(tmp_path: Path) -> None:
    code = (
        "import http.server, os, sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(os.environ['WHO'].encode())\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n"
    )
    spec = ReleaseServiceSpec("r-1", [sys.executable, "-c", code, "{port}", "{braces} stay"], {"WHO": "me"})
    service = ReleaseService("stable", spec, state=tmp_path)
    try:
        service.wait_ready(60)
        assert request(f"{service.url}/", timeout=60).content == b"me"
    finally:
        service.stop()
    with pytest.raises(SluiceError, match="stable r-1 ended with status -15"):
        service.require_running()
    assert not list((tmp_path / "run").iterdir())


def test_an_early_death_is_told_with_the_log_without_waiting(
    stub: Callable[..., ReleaseServiceSpec], tmp_path: Path
) -> None:
    service = ReleaseService("canary", stub("r-2", "--die", "no such model"), state=tmp_path)
    with pytest.raises(SluiceError, match=r"canary r-2 ended with status 7; its log ends:\nno such model"):
        service.wait_ready(60)
    service.stop()
