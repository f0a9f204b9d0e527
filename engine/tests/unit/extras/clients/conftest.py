from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.serving.api_keys import add_key
from support.serving.process import Service

_SCRIPTS = "__import__('unit.extras.clients.scripts', fromlist=['scripts'])"
_LONG = {"threads": 1, "slots": 2, "context": 4096, "timeout_seconds": 110, "max_shaped_tokens": 400}


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    state = tmp_path_factory.mktemp("state")
    return state, add_key(state / "keys.json", "tests", tenant=None, scopes=["chat", "feedback"], rate=600)


@pytest.fixture(scope="session")
def scripted(keyed: tuple[Path, str]) -> Iterator[Service]:
    with Service(f"{_SCRIPTS}.FormChat()", f"state={str(keyed[0])!r}") as running:
        yield running


@pytest.fixture(scope="session")
def local(keyed: tuple[Path, str], models: Any) -> Iterator[Service]:
    chat = f"{_SCRIPTS}.local_chat({str(models.chat)!r})"
    with Service(chat, f"state={str(keyed[0])!r}, llm={_LONG!r}") as running:
        yield running


@pytest.fixture(params=["scripted", pytest.param("local", marks=pytest.mark.real)])
def service(request: pytest.FixtureRequest) -> Service:
    found: Service = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def secret(keyed: tuple[Path, str]) -> str:
    return keyed[1]
