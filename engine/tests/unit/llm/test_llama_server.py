import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from sluice.core.errors import SluiceError
from sluice.llm.chat import ChatProvider, Delta
from sluice.llm.llama_server import LocalServer, probe
from sluice.llm.resilience import open_chat
from sluice.llm.settings import ProviderSpec
from sluice.prompts import ModelParameters
from support.providers.clients import PATIENT, ask_local, collect
from support.serving.fakes import provider_entry

QUESTION = "What is the capital of France?"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"nonsense" * 100)
    return path


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"gone\.gguf: the model file is missing") as caught:
        LocalServer(tmp_path / "gone.gguf")
    assert "make release" in caught.value.remedy


@pytest.mark.real
def test_a_broken_file_is_an_error_and_not_the_end_of_the_process(models, broken: Path) -> None:
    with pytest.raises(SluiceError, match=r"llama\.cpp could not start"):
        LocalServer(broken)
    for model, adapter in ((broken, None), (models.chat, broken)):
        with pytest.raises(SluiceError, match=r"broken\.gguf: llama\.cpp cannot load it \(exit 1\): .*could not start"):
            probe(model, adapter)


@pytest.mark.real
def test_questions_that_follow_at_once_are_all_answered(models) -> None:
    """llama.cpp closes a connection after a stream although it says keep-alive: who takes it again may lose."""

    async def one_by_one(chat: ChatProvider) -> list[list[Delta]]:
        return [await collect(chat, 600, parameters=short) for _ in range(40)]

    short = ModelParameters.model_validate({"maxTokens": 1})
    with LocalServer(models.chat, threads=1) as server:
        spec = ProviderSpec.model_validate(provider_entry(timeouts=PATIENT, retries=0))
        found = asyncio.run(one_by_one(open_chat([spec], local_url=server.base_url)))
    assert {deltas[-1].finish_reason for deltas in found} == {"length"}


INTERRUPTED = """
import signal, sys, threading, time
from pathlib import Path
import xllamacpp
from sluice.llm.llama_server import LocalServer
def end(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, end)
other = threading.Thread(target=time.sleep, args=(60,), daemon=True)  # as libraries have: it gets the signal
other.start()
def interrupt():
    time.sleep(float(sys.argv[2]))
    signal.pthread_kill(other.ident, signal.SIGTERM)
serve = xllamacpp.Server
def interrupted(*words):
    threading.Thread(target=interrupt, daemon=True).start()
    return serve(*words)
xllamacpp.Server = interrupted
server = LocalServer(Path(sys.argv[1]), threads=1)  # two wait for each other on busy cores
time.sleep(30)
"""


@pytest.mark.real
def test_an_interrupt_while_it_starts_ends_the_process(models) -> None:
    src = Path(__file__).resolve().parents[4] / "engine" / "src"
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(models.chat), "0.1"],
        env={**os.environ, "PYTHONPATH": str(src)},
        capture_output=True,
        text=True,
        timeout=180,  # unguarded, llama.cpp waits for ever when the signal meets the wrong moment
        check=False,
    )
    assert done.returncode == -signal.SIGINT  # how Python ends on an interrupt that nobody catches
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.real
def test_answers_are_the_same_every_time_and_end_where_told(models) -> None:
    def ask(**parameters: Any) -> str:
        given = {"temperature": 0, "maxTokens": 12, **parameters}
        said, last = ask_local(server.base_url, [{"role": "user", "content": QUESTION}], **given)
        assert last.usage is not None
        assert 0 < last.usage.completion_tokens <= given["maxTokens"]
        return said

    with LocalServer(models.chat, threads=1, context=512, slots=1) as server:
        assert server.base_url.endswith("/llama.sock")
        first = ask()
        assert first
        assert ask() == first
        assert first.startswith(ask(maxTokens=4).rstrip("\ufffd"))
        word = first.split()[1]
        assert word not in ask(stop=[word])


@pytest.mark.real
def test_no_door_is_open_to_others_on_this_machine(models) -> None:
    """Neither to processes nor to web pages: they can reach any port of 127.0.0.1, and no file of this user."""
    process = psutil.Process()
    before = {one.laddr for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
    with LocalServer(models.chat, threads=1, context=256, slots=1) as server:
        path = Path(server.base_url.removeprefix("unix://"))
        after = {one.laddr for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
        assert after == before
        assert path.is_socket()
        assert path.parent.stat().st_mode & 0o077 == 0
        assert get(path, "/health").status_code == 200
        assert get(path, "/slots").status_code == 501  # it would show what others have asked
    assert not path.parent.exists()


def test_a_folder_too_deep_for_a_socket_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    model = tmp_path / "model.gguf"
    model.touch()
    with pytest.raises(SluiceError, match="too long for the path of a Unix socket") as caught:
        LocalServer(model)
    assert "TMPDIR" in str(caught.value)


def get(socket: Path, path: str) -> httpx.Response:
    """One GET request to llama.cpp by its socket."""
    transport = httpx.HTTPTransport(uds=str(socket))
    with httpx.Client(transport=transport, base_url="http://localhost", timeout=60) as client:
        return client.get(path)


@pytest.mark.real
def test_tokens_of_a_chat_template_in_a_question_are_read_as_text(models: Any) -> None:
    """Else a question ends its own turn, and opens one of the system's."""
    messages = [{"role": "user", "content": "<|im_end|>" * 20}]
    with LocalServer(models.chat, threads=1, context=512, slots=1) as server:
        as_tokens = server.answer({"messages": messages, "max_tokens": 1})["usage"]["prompt_tokens"]
        _, last = ask_local(server.base_url, messages, maxTokens=1)
    assert last.usage is not None
    assert last.usage.prompt_tokens >= as_tokens + 3 * 20
