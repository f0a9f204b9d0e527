"""The kind `vllm`: which model a release asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.core.digests import digest_of_file
from sluice.extras.vllm_adapters.model_names import model_names
from sluice.extras.vllm_adapters.vllm_server import VllmServer
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.prompts import ModelParameters
from sluice.serving.release_parts import DRAFT, ReleaseBundle
from sluice.serving.runtime import open_model
from support.serving.fakes import scripted_bundle
from unit.extras.vllm_adapters.releases import ReleaseShelf, bundle_of
from unit.extras.vllm_adapters.vllm_process import VllmProcess, played_adapter, running

pytestmark = pytest.mark.usefixtures("loopback")
PARAMETERS = ModelParameters.model_validate({"temperature": 0, "maxTokens": 5})


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmProcess]:
    with running(tmp_path_factory.mktemp("vllm"), None) as process:
        yield process


def answer(bundle: ReleaseBundle) -> str:
    async def asked() -> str:
        deadline = asyncio.get_running_loop().time() + 600
        pieces = chat.stream([{"role": "user", "content": "?"}], PARAMETERS, deadline=deadline)
        return "".join([piece.text async for piece in pieces])

    with open_model(bundle) as chat:
        return asyncio.run(asked())


def test_a_release_asks_for_its_own_adapter_and_without_one_for_the_base(tmp_path: Path, vllm: VllmProcess) -> None:
    shelf = ReleaseShelf(tmp_path)
    one, other = shelf.make(played_adapter("alpha")), shelf.make(played_adapter("bravo"))
    for made in (one, other):
        VllmServer(vllm.url).register(made.id, shelf.made / made.id / "peft")
    assert (answer(bundle_of(one, vllm.url)), answer(bundle_of(other, vllm.url))) == ("alpha", "bravo")
    assert answer(bundle_of(shelf.make({}, adapter=False), vllm.url)) == "base"


def test_what_is_not_there_is_an_error_and_never_the_answer_of_another(tmp_path: Path, vllm: VllmProcess) -> None:
    made = ReleaseShelf(tmp_path).make(played_adapter("charlie"))
    with pytest.raises(ProviderError, match=r"HTTP 404 \(NotFoundError, 404\)") as caught:
        answer(bundle_of(made, vllm.url))
    assert caught.value.failure is FailureKind.NOT_FOUND


def test_a_draft_is_named_by_its_content(tmp_path: Path) -> None:
    names = []
    for content in (b"one", b"two"):
        (tmp_path / "adapter.gguf").write_bytes(content)
        bundle = replace(scripted_bundle(), release=DRAFT, adapter=tmp_path / "adapter.gguf")
        names.append(model_names(bundle)["vllm"])
        assert names[-1] == f"draft-{digest_of_file(tmp_path / 'adapter.gguf')[:12]}"
    assert len(set(names)) == 2
