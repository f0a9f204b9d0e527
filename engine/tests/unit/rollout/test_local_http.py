from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.processes import free_port
from sluice.rehearsal.release_services import ReleaseService, ReleaseServiceSpec
from sluice.rollout.local_http import get

pytestmark = pytest.mark.usefixtures("loopback")


def test_any_status_is_an_answer_and_proxies_are_ignored(
    stub: Callable[..., ReleaseServiceSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    service = ReleaseService("stable", stub("r-1"), state=tmp_path)
    try:
        service.wait_ready(60)
        missing = get(f"{service.url}/nothing", timeout=60)
        assert (missing.status, missing.headers["x-sluice-release"]) == (404, "r-1")
    finally:
        service.stop()


def test_no_answer_is_an_os_error() -> None:
    with pytest.raises(OSError, match="refused"):
        get(f"http://127.0.0.1:{free_port()}/", timeout=60)
