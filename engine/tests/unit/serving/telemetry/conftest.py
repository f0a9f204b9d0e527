from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.extras.traces.exporters import open_exporters
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.release_parts import ReleaseBundle, require_prompt
from sluice.serving.runner import ApplicationRunner
from sluice.serving.telemetry.telemetry import ProcessFacts, Telemetry
from support.serving.fakes import ScriptedChat
from support.telemetry.collector import Collector, telemetry_settings
from unit.serving.client import Client


@pytest.fixture
def collector(loopback: None) -> Iterator[Collector]:  # noqa: ARG001 - it opens the network to this machine
    with Collector() as running:
        yield running


@pytest.fixture
def facts(bundle: ReleaseBundle) -> ProcessFacts:
    prompt = require_prompt(bundle)
    return ProcessFacts(bundle.release, prompt.name, prompt.digest)


class Service(Client):
    """The app in this process, with telemetry that is closed by `flush`."""

    def __init__(self, app: Any, telemetry: Telemetry) -> None:
        super().__init__(app)
        self.telemetry = telemetry
        self.lost: Counter[tuple[str, str]] = Counter()
        count = telemetry.on_lost

        def counted(exporter: str, reason: str, many: int) -> None:
            self.lost[exporter, reason] += many
            count(exporter, reason, many)

        telemetry.on_lost = counted

    def metrics(self) -> str:
        return self.send("GET", "/metrics").text

    def flush(self, seconds: float | None = None) -> bool:
        return self.telemetry.close(seconds)


@pytest.fixture
def serve(
    bundle: ReleaseBundle,
    facts: ProcessFacts,
    chat: ScriptedChat,
    make_chain: Callable[[ScriptedChat], ApplicationRunner],
    tmp_path: Path,
) -> Iterator[Callable[..., Service]]:
    """Starts a service: names of exporters, then keys of `traces` in config/telemetry.yaml."""
    started: list[Telemetry] = []

    def start(*exporters: str, model: ScriptedChat | None = None, **traces: Any) -> Service:
        settings = telemetry_settings(*exporters, **traces)
        telemetry = Telemetry(settings, facts, open_exporters(settings.traces, tmp_path / ".sluice"))
        started.append(telemetry)
        app = create_app(bundle, make_chain(model or chat), TrafficState(), telemetry=telemetry)
        return Service(app, telemetry)

    yield start
    for telemetry in started:
        telemetry.close(0)
