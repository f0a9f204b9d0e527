"""The metrics of Traefik that alerts and dashboards ask for are in the page of a real one."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sluice.core.processes import free_port, start, wait_until
from support.kubernetes.exporters import EXPORTERS

TRAEFIK = shutil.which("traefik", path=str(Path(sys.executable).parent))

pytestmark = [pytest.mark.real, pytest.mark.skipif(TRAEFIK is None, reason="Traefik is not installed (make setup)")]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    web, metrics, nobody = free_port(), free_port(), free_port()
    services = {
        "sluice": {"weighted": {"services": [{"name": "sluice-stable", "weight": 1}]}},
        "sluice-stable": {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{nobody}"}]}},
    }
    routers = {"visitors": {"rule": "PathPrefix(`/`)", "entryPoints": ["web"], "service": "sluice"}}
    (tmp_path / "dynamic.yaml").write_text(json.dumps({"http": {"routers": routers, "services": services}}))
    argv = [str(TRAEFIK), f"--entryPoints.web.address=127.0.0.1:{web}", "--global.checkNewVersion=false"]
    argv += [f"--entryPoints.metrics.address=127.0.0.1:{metrics}", "--metrics.prometheus.entryPoint=metrics"]
    argv += [f"--providers.file.filename={tmp_path / 'dynamic.yaml'}", "--global.sendAnonymousUsage=false"]
    running = start("traefik", argv, state=tmp_path)

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{web}/", timeout=5).status_code == 502
        except httpx.TransportError:
            return False

    try:
        assert wait_until(answers, seconds=60), running.tail()
        yield httpx.get(f"http://127.0.0.1:{metrics}/metrics", timeout=60).text
    finally:
        running.stop()


def test_the_metrics_of_traefik_are_those_that_are_asked_for(page: str) -> None:
    (wanted,) = (
        one["metrics"] for one in EXPORTERS if one["exporter"].startswith("Traefik") and "," not in one["exporter"]
    )
    for metric, labels in wanted.items():
        found = re.findall(rf"^{metric}\{{(.*)\}} ", page, re.MULTILINE)
        assert found, metric
        assert set(re.findall(r'(\w+)="', found[0])) == set(labels), metric
    asked = re.findall(r'^traefik_service_requests_total\{(?=.*code="502").*service="(.*?)".*\} 1$', page, re.MULTILINE)
    assert asked == ["sluice-stable@file"], "counted where the request went, not at the weighted service"
