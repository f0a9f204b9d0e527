"""llama.cpp inside this process: an OpenAI-compatible server on a private Unix socket, through xllamacpp.

No TCP port: any local process, and any page that a browser shows, could use it past the keys and guards of the service.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.processes import interrupts_deferred

_PROBE_SECONDS, _PROBE_PACE = 120, 32 << 20  # and a second for each so many bytes: an 8B takes minutes to read
_LONGEST_SOCKET = 103  # bytes: sun_path of macOS; Linux has four more
_PROBE = """
import os, sys
from pathlib import Path
from sluice.core.errors import SluiceError
from sluice.llm.llama_server import LocalServer
adapter = Path(sys.argv[2]) if sys.argv[2] else None
try:
    server = LocalServer(Path(sys.argv[1]), adapter=adapter, threads=1, context=256, slots=1)
except SluiceError as error:
    sys.exit(error.message)
os._exit(0)
"""


class LocalServer(AbstractContextManager["LocalServer"]):
    """One chat model, with an optional LoRA adapter. `base_url` has no /v1."""

    def __init__(
        self, model: Path, *, adapter: Path | None = None, threads: int = 2, slots: int = 2, context: int = 4096
    ) -> None:
        import xllamacpp

        for file, what in ((model, "model"), (adapter, "adapter")):
            if file is not None and not file.is_file():
                raise SluiceError(
                    f"{file}: the {what} file is missing",
                    remedy="run `make release` to build it, or `sluice models pull` to fetch it",
                )
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.verbosity = 0
        params.n_ctx = context
        params.n_parallel = slots
        params.endpoint_slots = False  # it shows the prompts of others
        # Answers repeat the prompt: what follows their last three tokens there is read at once, kept while it is right.
        params.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        params.speculative.ngram_simple.size_n, params.speculative.ngram_simple.size_m = 3, 16
        self._folder = tempfile.TemporaryDirectory(prefix="sluice-")  # for this user alone
        path = f"{self._folder.name}/llama.sock"
        if len(path.encode()) > _LONGEST_SOCKET:
            raise SluiceError(
                f"{path}: too long for the path of a Unix socket ({_LONGEST_SOCKET} bytes)",
                remedy="set TMPDIR to a shorter folder",
            )
        params.hostnames = [path]
        if adapter is not None:
            lora = xllamacpp.CommonAdapterLoraInfo()
            lora.path = str(adapter)
            lora.scale = 1.0
            params.lora_adapters = [lora]
        # llama.cpp waits for ever when it is closed before its loop has run once: so it answers once here, and a signal
        # must not come in between.
        with interrupts_deferred():
            try:
                self._server: Any = xllamacpp.Server(params)
            except RuntimeError as error:
                raise SluiceError(
                    f"{model}: llama.cpp could not start: {error}", remedy="check that the file is a whole GGUF model"
                ) from error
            reply = self.answer({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1})
        if "choices" not in reply:
            raise SluiceError(f"{adapter or model}: llama.cpp does not respond: {reply}")

    @property
    def base_url(self) -> str:
        return str(self._server.listening_address)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        return dict(self._server.handle_chat_completions(request))

    def close(self) -> None:
        self._server = None
        self._folder.cleanup()

    def __exit__(self, *_: object) -> None:
        self.close()


def probe(model: Path, adapter: Path | None = None) -> None:
    """Load a model in a child process: one that llama.cpp can't use aborts the whole process."""
    argv = [sys.executable, "-c", _PROBE, str(model), str(adapter or "")]
    seconds = _PROBE_SECONDS + (model.stat().st_size if model.is_file() else 0) // _PROBE_PACE
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise SluiceError(f"{adapter or model}: llama.cpp gave no answer within {seconds} s") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise SluiceError(
            f"{adapter or model}: llama.cpp cannot load it (exit {done.returncode}): {reason}",
            remedy="check that the file is whole and made for this model; delete it to have it made again",
        )
