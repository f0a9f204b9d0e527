from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.extras.calibration.metrics import Judge
from sluice.llm.settings import Providers
from sluice.prompts import load_prompt
from support.providers.clients import chat_over
from support.providers.server import Upstream, upstream
from support.serving.fakes import scripted_bundle
from unit.evaluation.conftest import *  # noqa: F403 - rows and outputs

PROMPT = load_prompt(Path(__file__).resolve().parents[5] / "prompts/judge.prompt.yml")
Reply = Callable[[list[dict[str, str]]], str]


@pytest.fixture
def server(loopback: None) -> Iterator[Upstream]:  # noqa: ARG001 - it opens loopback
    with upstream() as server:
        yield server


def judge_at(server: Upstream, reply: Reply) -> Judge:
    server.reply = reply
    return Judge(chat_over([server]), PROMPT, by="a/m", seconds=600, concurrency=4)


def bundle_with(judges: list[dict[str, Any]], **prompts: Any) -> Any:
    bundle = scripted_bundle()
    providers = Providers.model_validate(bundle.providers.model_dump() | {"judge": judges})
    return bundle.__class__(**{**vars(bundle), "providers": providers, "prompts": {**bundle.prompts, **prompts}})
