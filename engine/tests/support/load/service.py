"""A whole service as a process that can run for hours: keys, guards, traces, feedback and log are on, model and search
are stubs that remember nothing.

By hand: `PYTHONPATH=engine/src:engine/tests python -c "from support.load.service import serve; serve(8000, 'FOLDER')"`.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

from sluice.core.processes import die_with_parent
from sluice.guardrails.guards import Guards
from sluice.llm.chat import Delta, Usage
from sluice.retrieval import Hit
from sluice.serving.api_keys import add_key, read_keys
from sluice.serving.auth import Caller
from sluice.serving.feedback import proof_of
from sluice.serving.telemetry.service_log import logging_of
from sluice.serving.telemetry.telemetry import open_telemetry
from support.serving.fakes import CHUNKS, GUARDRAILS, hit, run_service, scripted_bundle
from support.serving.process import ServiceProcess
from support.telemetry.collector import telemetry_settings

QUESTION = "How much overlap do chunks have?"
UNKNOWN = "What is the capital of Peru?"
_PIECES = ("Neighbouring chunks ", "share 64 tokens. ", "Longer overlaps ", "cost storage.")
_TRACES = {"contents": True, "queue": 2048, "timeout_seconds": 5, "flush_seconds": 1, "mlflow": {"spool_mib": 1}}


class SteadyChat:
    """Answers anything in two sentences; each takes half of `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._pause = seconds / 2

    async def stream(self, *_: Any, **__: Any) -> AsyncGenerator[Delta, None]:
        for number, piece in enumerate(_PIECES):
            if number % 2 == 0:
                await asyncio.sleep(self._pause)
            yield Delta(piece)
        yield Delta(finish_reason="stop", usage=Usage(11, 12))


class SteadyRetriever:
    """Finds the same passage for every question, and something far off for UNKNOWN."""

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:  # noqa: ARG002
        return [hit(CHUNKS, doc_id="chunking", title="Chunking", similarity=0.1 if question == UNKNOWN else 0.9)]


def serve(port: int, folder: str, *, seconds: float = 0.05, limits: Mapping[str, int] | None = None) -> None:
    """Serves until SIGTERM, and no longer than its parent lives; keys.json in `folder` decides who may ask."""
    die_with_parent()
    bundle, telemetry = scripted_bundle(), telemetry_settings("mlflow", access=True, **_TRACES)
    chosen = {"max_body_bytes": 65536, "max_concurrent": 8, "max_queued": 16, **(limits or {})}
    with logging_of(telemetry.logs, bundle.release), open_telemetry(telemetry, bundle, Path(folder)) as told:
        application = SteadyChat(seconds), SteadyRetriever(), Guards(GUARDRAILS)
        run_service(port, *application, state=folder, telemetry=told, limits=chosen)


class SteadyService(ServiceProcess):
    """`serve` as a child process. `key` may do everything, at any rate."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self._keys = folder / "keys.json"
        scopes = ["chat", "feedback", "metrics"]
        name = f"load-{token_hex(4)}"
        self.key = add_key(self._keys, name, tenant=None, scopes=scopes, rate=10**9)
        code = f"from support.load.service import serve; serve(port, {str(folder)!r}, **{options!r})"
        super().__init__(code, folder / f"{name}.log")

    @property
    def authorization(self) -> str:
        return f"Bearer {self.key}"

    def answer_id(self, trace_id: str) -> str:
        """The id of an answer, as the service makes it."""
        caller = Caller(signing=(read_keys(self._keys).signing or "").encode())
        return trace_id + proof_of(caller, trace_id, scripted_bundle().release)

    @property
    def rss(self) -> int:
        """Resident memory in KiB."""
        return self._memory("VmRSS:")

    @property
    def peak(self) -> int:
        """The most that `rss` has been since `forget_peak`."""
        return self._memory("VmHWM:")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _memory(self, what: str) -> int:
        return int(Path(f"/proc/{self.process.pid}/status").read_text().split(what)[1].split()[0])

    @property
    def descriptors(self) -> int:
        """Open files and sockets."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
