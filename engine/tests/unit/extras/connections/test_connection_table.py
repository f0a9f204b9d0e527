"""Which connection makes room, and when there is none to be had."""

from __future__ import annotations

import resource

import pytest

from sluice.extras.connections.connection_table import ConnectionTable
from sluice.serving.settings import ConnectionSettings


class Connection:
    def __init__(self, peer: str = "192.0.2.1") -> None:
        self.peer = peer
        self.given_up = False

    def give_up(self) -> None:
        self.given_up = True


def table(**limits: int) -> tuple[ConnectionTable, list[str]]:
    shed: list[str] = []
    return ConnectionTable(ConnectionSettings.model_validate(limits), shed.append), shed


def test_the_longest_waiting_of_a_crowded_peer_makes_room_and_no_other_peer() -> None:
    open_, shed = table(max_open_of_peer=2)
    other, first, second, third = Connection("192.0.2.9"), Connection(), Connection(), Connection()
    for one in (other, first, second):
        assert open_.enter(one)
    open_.answers(first)
    open_.waits(first)  # it has been answered since, so the second waits longer
    assert open_.enter(third)
    assert [one.given_up for one in (other, first, second, third)] == [False, False, True, False]
    assert shed == ["connections"]


def test_in_all_the_longest_waiting_of_any_peer_makes_room() -> None:
    open_, _ = table(max_open=2)
    first, second, third = (Connection(f"192.0.2.{n}") for n in range(3))
    assert [open_.enter(one) for one in (first, second, third)] == [True, True, True]
    assert (first.given_up, second.given_up) == (True, False)


def test_a_connection_that_is_being_answered_is_never_ended() -> None:
    open_, shed = table(max_open_of_peer=1)
    busy, late = Connection(), Connection()
    assert open_.enter(busy)
    open_.answers(busy)
    assert not open_.enter(late)
    assert (busy.given_up, shed) == (False, ["connections"])
    open_.leave(late)  # as it does when its refusal is sent
    open_.leave(busy)
    open_.leave(busy)
    assert open_.enter(Connection())


def test_at_most_half_of_the_files_are_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4, 4))
    open_, _ = table()
    made = [Connection(f"192.0.2.{n}") for n in range(3)]
    assert [open_.enter(one) for one in made] == [True, True, True]
    assert made[0].given_up
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, 4))
    open_, _ = table(max_open=3)
    assert all(open_.enter(Connection(f"192.0.2.{n}")) for n in range(3))
