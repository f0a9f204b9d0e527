import asyncio
import logging

import aiohttp
import pytest

from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.provider_http import HttpClient
from support.providers.clients import ask, chat_over
from support.providers.server import Upstream, upstream

BODY = b'{"stream": true}'


def client(url: str) -> HttpClient:
    return HttpClient(url, {}, connections=4, connect_seconds=60)


def test_the_proxy_of_the_environment_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.internal:3128")
    monkeypatch.setenv("https_proxy", "http://proxy.internal:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert client("https://api.example.com/v1/x").proxy == "http://proxy.internal:3128"
    assert client("https://127.0.0.1/v1/x").proxy is None
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.delenv("https_proxy")
    assert client("https://api.example.com/v1/x").proxy is None


@pytest.mark.usefixtures("loopback")
def test_connections_are_used_again_and_end_with_the_event_loop(caplog: pytest.LogCaptureFixture) -> None:
    with upstream() as server, caplog.at_level(logging.ERROR, "asyncio"):
        posted = client(f"{server.url}/v1/chat/completions")

        async def several() -> tuple[aiohttp.ClientSession, int]:
            for _ in range(5):
                async with posted.post(BODY, deadline=asyncio.get_running_loop().time() + 600) as read:
                    while await read():
                        pass
            session = await posted.sessions.get()
            assert isinstance(session.connector, aiohttp.TCPConnector)
            return session, sum(len(idle) for idle in session.connector._conns.values())

        first, idle = asyncio.run(several())
        second, _ = asyncio.run(several())
        assert idle == 1
        assert first is not second
        assert first.closed
        assert second.closed
    assert not caplog.records


def test_an_unknown_host_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Upstream()
    server.url = "http://nowhere.invalid"

    async def no_such_host(*_: object, **__: object) -> None:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", no_such_host)
    monkeypatch.setattr("aiohttp.resolver.AsyncResolver.resolve", no_such_host, raising=False)
    with pytest.raises(ProviderError) as caught:
        ask(chat_over([server]))
    assert caught.value.failure is FailureKind.UNREACHABLE
