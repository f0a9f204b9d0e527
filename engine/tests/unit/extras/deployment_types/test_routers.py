"""The real Traefik with the routes of a type of deployment, in front of two stand-ins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sluice.core.processes import wait_until
from sluice.extras.deployment_types.deployment_types import KEY_ENDINGS, group_of
from sluice.extras.deployment_types.routers import GroupRouter, MirroringRouter
from sluice.rehearsal.release_services import ReleaseService, ReleaseServiceSpec
from sluice.rehearsal.traefik_router import TraefikRouter
from sluice.rehearsal.visitors import Visit, visit
from sluice.serving.api_keys import add_key
from starter_files import ROOT
from unit.rehearsal.conftest import STUB, running_pair, stub

__all__ = ["STUB", "stub"]
pytestmark = pytest.mark.real
GROUP = group_of(ROOT / "engine" / "k8s" / "components" / "ab")

Services = tuple[ReleaseService, ReleaseService]


@pytest.fixture
def services(stub: Callable[..., ReleaseServiceSpec], tmp_path: Path) -> Iterator[Services]:
    with running_pair(stub, tmp_path, "--status", "503") as pair:
        yield pair


def _started(kind: Callable[..., TraefikRouter], services: Services, state: Path, **more: Any) -> Any:
    return kind(stable=services[0].url, canary=services[1].url, state=state, **more)


def _ask(router: TraefikRouter, times: int, keys: Sequence[str] = ("",)) -> list[Visit]:
    return [visit(router.url, "What is a canary?", timeout=60, key=key) for _ in range(times) for key in keys]


def test_a_copy_is_answered_and_no_visitor_sees_it(services: Services, tmp_path: Path) -> None:
    with _started(MirroringRouter, services, tmp_path, percent=10) as router:
        assert router.copies() == {}
        visits = _ask(router, 40)
        assert wait_until(lambda: router.copies() == {"503": 4}, seconds=60), router.copies()
        router.forget()
        visits += _ask(router, 10)
        assert wait_until(lambda: router.copies() == {"503": 1}, seconds=60), router.copies()
    assert {one.error for one in visits} == {""}
    served = router.served_by()
    assert Counter(served[one.request_id] for one in visits) == {"stable": 50}, "the answers shown are stable's"


def test_the_weights_are_about_the_group_alone(services: Services, tmp_path: Path) -> None:
    keys = [f"key-{ending}" for ending in KEY_ENDINGS]
    with _started(GroupRouter, services, tmp_path, group=GROUP) as router:
        before = _ask(router, 1, keys)
        router.set_weight(100)
        inside = _ask(router, 3, ["", *keys])
        router.set_weight(0)
        back = _ask(router, 1, keys)
        router.promote()
        router.set_weight(100)
        after = _ask(router, 1, ["", *keys])
    served = router.served_by()
    assert {served[one.request_id] for one in before + back} == {"stable"}
    met = Counter((one.key[-1:], served[one.request_id]) for one in inside)
    assert met == {(ending, "canary" if ending in [*"AEIM"] else "stable"): 3 for ending in ["", *KEY_ENDINGS]}
    assert {served[one.request_id] for one in after} == {"canary"}


def test_keys_of_the_service_fall_into_the_group_as_often_as_its_file_says(tmp_path: Path) -> None:
    keys = [
        add_key(tmp_path / "keys.json", f"k{number}", tenant=None, scopes=("chat",), rate=1) for number in range(200)
    ]
    assert {key[-1] for key in keys} <= set(KEY_ENDINGS)
    assert 20 <= sum(key[-1] in "AEIM" for key in keys) <= 80  # five standard deviations around a quarter
