"""The doubles of sluice.testing, and what only the engine's tests need: `run_service` is a whole service process."""

from pathlib import Path
from typing import Any

from sluice.guardrails.check import Checks
from sluice.llm.chat import ChatProvider
from sluice.retrieval import Search
from sluice.serving.auth import KeyRing
from sluice.serving.feedback import FeedbackLog
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.runner import ApplicationRunner
from sluice.serving.server import listen
from sluice.serving.telemetry.telemetry import Telemetry
from sluice.testing.fakes import CHUNKS as CHUNKS
from sluice.testing.fakes import DECLINE as DECLINE
from sluice.testing.fakes import GUARDRAILS as GUARDRAILS
from sluice.testing.fakes import HITS as HITS
from sluice.testing.fakes import REPLIES as REPLIES
from sluice.testing.fakes import NoChecks as NoChecks
from sluice.testing.fakes import ScriptedChat as ScriptedChat
from sluice.testing.fakes import ScriptedRetriever as ScriptedRetriever
from sluice.testing.fakes import hit as hit
from sluice.testing.fakes import provider_entry as provider_entry
from sluice.testing.fakes import run_application as run_application
from sluice.testing.fakes import scripted_bundle as scripted_bundle


def run_service(
    port: int,
    chat: ChatProvider,
    search: Search | None = None,
    guards: Checks | None = None,
    *,
    state: str = "",
    telemetry: Telemetry | None = None,
    **service: Any,
) -> None:
    """Serves the scripted release on loopback until it has drained; for child processes of tests.

    `state`: a folder for feedback and, in keys.json, keys."""
    bundle, traffic = scripted_bundle(**service), TrafficState()
    chain = ApplicationRunner(bundle, chat, search or ScriptedRetriever(HITS), guards or NoChecks())
    keys = KeyRing(Path(state) / "keys.json") if state else None
    feedback = FeedbackLog(Path(state) / "feedback", telemetry.score if telemetry else None) if state else None
    app = create_app(bundle, chain, traffic, telemetry=telemetry, keys=keys, feedback=feedback)
    seconds = bundle.service.drain_seconds
    notice = bundle.service.notice_seconds
    listen(app, traffic, "127.0.0.1", port, drain_seconds=seconds, notice_seconds=notice)
