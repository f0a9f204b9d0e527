"""Two releases with adapters of their own behind one vLLM, and the loader as its own process beside it.

By default vLLM is played; with SLUICE_VLLM=PYTHON it is the real one (engine/docs/reference/vllm.md).
"""

import asyncio
import itertools
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from sluice.core.processes import free_port, program, wait_until
from sluice.extras.vllm_adapters.vllm_server import VllmServer
from sluice.llm.provider_failures import ProviderError
from sluice.llm.resilience import FallbackProvider
from sluice.prompts import ModelParameters
from sluice.release.manifest import Manifest
from sluice.serving.runtime import open_model
from support import local_server
from unit.extras.vllm_adapters.releases import ReleaseShelf, bundle_of
from unit.extras.vllm_adapters.vllm_process import REAL, VllmProcess, played_adapter, running

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]
SAYS = {"stable": "alpha", "canary": "bravo", "next": "gamma"}
PARAMETERS = ModelParameters.model_validate({"temperature": 0, "maxTokens": 5})
REQUESTS, AT_ONCE, PATIENCE = 400, 32, 600


@dataclass(frozen=True)
class AdapterFiles:
    """`base`: the real model; None where vLLM is played. `files`: of the adapter of each release; that of `foreign` is
    made for another base of the same shape."""

    base: Path | None
    files: dict[str, dict[str, bytes]]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> AdapterFiles:
    if not REAL:
        played = {name: played_adapter(word) for name, word in SAYS.items()}
        return AdapterFiles(None, played | {"foreign": played_adapter("delta", norm="803f1040")})
    from unit.extras.vllm_adapters import trained

    folder = tmp_path_factory.mktemp("trained")
    base = trained.make_base(folder / "base")
    files = {name: trained.train_adapter(base, word, folder / name) for name, word in SAYS.items()}
    other = trained.make_base(folder / "other", seed=1)
    return AdapterFiles(base, files | {"foreign": trained.train_adapter(other, "delta", folder / "foreign")})


@pytest.fixture(scope="module")
def vllm(adapters: AdapterFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmProcess]:
    with running(tmp_path_factory.mktemp("vllm"), adapters.base) as process:
        yield process


@dataclass(frozen=True)
class Served:
    shelf: ReleaseShelf
    releases: dict[str, Manifest]
    loader: str
    folder: Path

    def ready(self) -> bool:
        return httpx.get(f"{self.loader}/readyz", timeout=PATIENCE, trust_env=False).is_success

    def state(self, name: str) -> dict[str, str]:
        found = httpx.get(f"{self.loader}/adapters", timeout=PATIENCE, trust_env=False).json()
        return dict(found.get(self.releases[name].id, {}))

    def is_registered(self, *names: str) -> bool:
        return all(self.state(name).get("state") == "registered" for name in names)


@pytest.fixture
def served(vllm: VllmProcess, adapters: AdapterFiles, tmp_path: Path) -> Iterator[Served]:
    shelf = ReleaseShelf(tmp_path)
    releases = {name: shelf.make(files) for name, files in adapters.files.items()}
    shelf.start(releases["stable"], releases["canary"])
    with loading(vllm, shelf) as (url, folder):
        served = Served(shelf, releases, url, folder)
        assert wait_until(served.ready, seconds=PATIENCE)
        assert served.is_registered("stable", "canary")
        yield served
    for name in set(VllmServer(vllm.url).adapters()) - {"base"}:
        VllmServer(vllm.url).unregister(name)


@contextmanager
def loading(vllm: VllmProcess, shelf: ReleaseShelf) -> Iterator[tuple[str, Path]]:
    port, folder = free_port(), shelf.root / "adapters"
    words = [str(program("sluice")), "adapters", "load", str(folder), f"--vllm={vllm.url}", f"--port={port}"]
    words += [f"--releases={shelf.alive}", f"--artefacts={shelf.store}", "--every=0.1", "--keep=0.5"]
    with (shelf.root / "loader.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def healthy() -> bool:
        assert process.poll() is None, (shelf.root / "loader.log").read_text()
        return local_server.answers(f"{url}/healthz")

    try:
        assert wait_until(healthy, seconds=PATIENCE)
        yield url, folder
    finally:
        process.terminate()
        assert process.wait(60) == 0, (shelf.root / "loader.log").read_text()


async def ask(chat: FallbackProvider, number: int) -> str:
    """Return the answer without the blanks that a tokenizer of letters puts between them."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    messages = [{"role": "user", "content": f"question {number % 100:02}?"}]
    pieces = [piece.text async for piece in chat.stream(messages, PARAMETERS, deadline=deadline)]
    return "".join(pieces).replace(" ", "")


def answers(
    served: Served, url: str, names: list[str], *, retries: int = 0, then: Callable[[int], None] = lambda _: None
) -> list[tuple[str, str]]:
    """Ask each release its question, many at once, and tell `then` their number; return (name, answer or fault)."""
    done = itertools.count(1)

    async def all_of_them() -> list[tuple[str, str]]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, name: str) -> tuple[str, str]:
            async with gate:
                try:
                    said = await ask(chats[name], number)
                except ProviderError as error:
                    return name, f"failed: {error.message}"
            then(next(done))
            return name, said

        return list(await asyncio.gather(*(one(number, name) for number, name in enumerate(names))))

    with ExitStack() as opened:
        bundles = {name: bundle_of(served.releases[name], url, retries=retries) for name in set(names)}
        chats = {name: opened.enter_context(open_model(bundle)) for name, bundle in bundles.items()}
        return asyncio.run(all_of_them())


def test_many_requests_of_stable_and_canary_are_answered_by_their_own_adapter(
    served: Served, vllm: VllmProcess
) -> None:
    names = random.Random(0).choices(["stable", "canary"], k=REQUESTS)
    found = answers(served, vllm.url, names)
    assert len(found) == REQUESTS
    assert [(name, said) for name, said in found if said != SAYS[name]] == []


def test_an_adapter_of_another_base_is_refused_before_vllm_is_told(served: Served, vllm: VllmProcess) -> None:
    release, server = served.releases["foreign"], VllmServer(vllm.url)
    served.shelf.start(release)
    assert wait_until(lambda: served.state("foreign").get("state") == "refused", seconds=PATIENCE)
    assert f"{vllm.base}: vLLM serves another base model" in served.state("foreign")["reason"]
    assert release.id not in server.adapters()
    assert served.ready(), "an adapter that is refused takes no other release down"
    found = answers(served, vllm.url, ["stable", "canary", "foreign"] * 10)
    assert [one for one in found if one[0] != "foreign" and one[1] != SAYS[one[0]]] == []
    assert all(said.startswith("failed: vllm: HTTP 404") for name, said in found if name == "foreign")
    # vLLM itself takes it without a word; what it then says is not what the adapter was trained to say.
    server.register(release.id, served.shelf.made / release.id / "peft")
    ((_, said),) = answers(served, vllm.url, ["foreign"])
    assert not said.startswith("failed: ")
    assert (said == "delta") != bool(REAL)


def test_a_rollback_needs_no_restart_of_vllm(served: Served, vllm: VllmProcess) -> None:
    server, before = VllmServer(vllm.url), vllm.process
    stable, canary, third = (served.releases[name] for name in ("stable", "canary", "next"))

    def asked_until(*alive: Manifest) -> None:
        names = {"base", *(manifest.id for manifest in alive)}

        def there() -> bool:
            assert set(answers(served, vllm.url, ["canary"] * AT_ONCE)) == {("canary", SAYS["canary"])}
            return set(server.adapters()) == names

        assert wait_until(there, seconds=PATIENCE)

    served.shelf.start(third)
    served.shelf.end(stable)  # `next` was promoted, and `canary` is what it was promoted over
    asked_until(canary, third)
    assert wait_until(lambda: not (served.folder / stable.id).exists(), seconds=PATIENCE)
    served.shelf.start(stable)
    served.shelf.end(third)
    asked_until(stable, canary)
    assert answers(served, vllm.url, ["stable", "canary"] * 5) == [("stable", "alpha"), ("canary", "bravo")] * 5
    assert vllm.process is before
    assert before is not None
    assert before.poll() is None


def test_adapters_come_back_by_themselves_when_vllm_was_killed(served: Served, vllm: VllmProcess) -> None:
    names = random.Random(1).choices(["stable", "canary"], k=200)

    def kill(number: int) -> None:
        if number == 50:
            vllm.kill()

    found = answers(served, vllm.url, names, then=kill)
    failed = [one for one in found if one[1].startswith("failed: ")]
    assert [one for one in found if one not in failed and one[1] != SAYS[one[0]]] == [], "no half of an answer"
    assert len(names) - 50 >= len(failed) > 0
    assert wait_until(lambda: not served.ready(), seconds=PATIENCE)
    assert served.state("stable")["state"] == "waiting"
    vllm.start()
    during = answers(served, vllm.url, names, retries=10)
    assert [one for one in during if not one[1].startswith("failed: ") and one[1] != SAYS[one[0]]] == []
    vllm.await_start()
    assert wait_until(served.ready, seconds=PATIENCE)
    assert served.is_registered("stable", "canary")
    assert [one for one in answers(served, vllm.url, names) if one[1] != SAYS[one[0]]] == []
    log = (served.shelf.root / "loader.log").read_text().splitlines()
    down = [line for line in log if "vLLM does not respond" in line]
    assert len(set(down)) == len(down) > 0, "once, and not in each pass"


def test_nobody_from_outside_of_the_pod_registers_an_adapter(served: Served, vllm: VllmProcess) -> None:
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(transport=transport, base_url=vllm.url, timeout=PATIENCE, trust_env=False) as outside:
        for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters"):
            body = {"lora_name": served.releases["stable"].id, "lora_path": "/etc", "name": "x", "src": "/etc"}
            told = outside.post(path, json=body, headers={"x-forwarded-for": "127.0.0.1"})
            assert (path, told.status_code) == (path, 403)
        assert outside.get("/health").is_success
        assert served.releases["stable"].id in str(outside.get("/v1/models").json())
    assert served.is_registered("stable", "canary")
