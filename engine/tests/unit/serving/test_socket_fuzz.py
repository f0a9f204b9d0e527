"""Hostile requests on a real socket; engine/benchmarks/socket_fuzz.py and api_fuzz.py send thousands."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from support.load.service import SteadyService
from support.serving.api_fuzz import fuzz_service
from support.serving.socket_fuzz import fuzz_socket

pytestmark = pytest.mark.usefixtures("loopback")


def test_broken_requests_are_answered_or_ended_and_never_5xx(tmp_path: Path) -> None:
    seed = secrets.randbelow(1 << 32) if "CI" in os.environ else 0
    print(f"engine/benchmarks/socket_fuzz.py 400 {seed}")  # does it again; pytest shows it where this fails
    service = SteadyService(tmp_path, seconds=0)
    try:
        seen = fuzz_socket(service.port, service.authorization, 400, seed=seed)
        assert service.ready
    finally:
        service.stop()
    assert {"200", "400"} <= set(seen)
    assert seen.total() == 400


def test_requests_made_from_the_description_lose_no_connection_and_take_little_memory(tmp_path: Path) -> None:
    start = secrets.randbelow(1 << 32) if "CI" in os.environ else 0
    print(f"engine/benchmarks/api_fuzz.py --cases 600 --seed {start}")  # does it again, and is shown where this fails
    with SteadyService(tmp_path, seconds=0) as service:
        fuzz_service(service, 100, start=1)  # what is made once
        before = service.rss
        seen = fuzz_service(service, 300, start=start)  # raises at a status 5xx and at a connection that is lost
        assert service.ready
        assert service.rss - before <= 64 << 10
    assert seen.total() >= 200
    for operation in ("POST /v1/chat/completions", "POST /v1/feedback"):
        assert {200, 400, 401} <= {status for name, status in seen if name == operation}
