"""The real Traefik in front of two stand-ins."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.rehearsal.services import ReleaseService, TraefikRouter
from sluice.rehearsal.visitors import Visit, visit
from unit.rehearsal.conftest import SpecFactory

pytestmark = pytest.mark.real


@pytest.fixture
def services(stub: SpecFactory, tmp_path: Path) -> Iterator[tuple[ReleaseService, ReleaseService]]:
    stable, canary = (
        ReleaseService(role, stub(f"r-{role}", "--delay", "0"), state=tmp_path) for role in ("stable", "canary")
    )
    try:
        for service in (stable, canary):
            service.wait_ready(60)
        yield stable, canary
    finally:
        for service in (stable, canary):
            service.stop()


@pytest.fixture
def router(services: tuple[ReleaseService, ReleaseService], tmp_path: Path) -> Iterator[TraefikRouter]:
    with TraefikRouter(stable=services[0].url, canary=services[1].url, state=tmp_path) as running:
        yield running


def _ask(router: TraefikRouter, times: int) -> list[Visit]:
    return [visit(router.url, "What is a canary?", timeout=60) for _ in range(times)]


def test_weights_hold_from_the_first_request_after_the_call(router: TraefikRouter) -> None:
    asked: list[list[Visit]] = []
    for percent in (0, 10, 50, 100, 0):
        router.set_weight(percent)
        assert router.weight == percent
        asked.append(_ask(router, 20))
    router.stop()  # its access log is whole only then
    served = router.served_by()
    to_canary = [Counter(served[v.request_id] for v in visits)["canary"] for visits in asked]
    assert to_canary == [0, 2, 10, 20, 0]
    assert [v.error for visits in asked for v in visits if v.error] == []


def test_the_chosen_release_is_charged(router: TraefikRouter, services: tuple[ReleaseService, ReleaseService]) -> None:
    router.set_weight(50)
    services[1].stop()
    visits = _ask(router, 6)
    router.stop()  # its access log is whole only then
    served = router.served_by()
    assert {served[v.request_id] for v in visits if v.error} == {"canary"}
    assert {v.error for v in visits} == {"", "status 502"}


def test_a_router_that_dies_is_an_error_with_its_log(router: TraefikRouter) -> None:
    router.child.process.kill()
    with pytest.raises(SluiceError, match="the router ended with status -9"):
        router.set_weight(10)
