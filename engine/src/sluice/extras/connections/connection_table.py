"""The open connections of a server, and which of them makes room for a new one."""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

from sluice.serving.settings import ConnectionSettings


class PeerConnection(Protocol):
    """A connection as the table needs it. `peer`: the address at its other end."""

    peer: str

    def give_up(self) -> None:
        """Ends it without a word."""


class ConnectionTable:
    """Connections by peer, and of those the ones whose next request is not there whole: idle and half-open ones.

    Args:
        limits: of config/service.yaml.
        shed: is told why a connection was refused or ended.
    """

    def __init__(self, limits: ConnectionSettings, shed: Callable[[str], None]) -> None:
        self.limits = limits
        self.shed = shed
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        # The rest of the files is for connections that are still being taken in, and for everything else.
        self._most = min(limits.max_open, files // 2) if files != resource.RLIM_INFINITY else limits.max_open
        self._open: defaultdict[str, set[PeerConnection]] = defaultdict(set)
        self._count = 0
        self._waiting: dict[PeerConnection, None] = {}  # the longest first

    def enter(self, connection: PeerConnection) -> bool:
        """Takes a new connection in. Where there is no room, the one that has waited longest makes room.

        Args:
            connection: that was made.

        Returns:
            False where none waits: requests are being answered on all of them.
        """
        peers = self._open[connection.peer]
        crowded = len(peers) >= self.limits.max_open_of_peer
        if crowded or self._count >= self._most:
            self.shed("connections")
            longest = next((one for one in self._waiting if not crowded or one in peers), None)
            if longest is None:
                return False
            self.leave(longest)
            longest.give_up()
        self._open[connection.peer].add(connection)
        self._count += 1
        self.waits(connection)
        return True

    def leave(self, connection: PeerConnection) -> None:
        """Forgets a connection; one that is forgotten already does no harm."""
        self.answers(connection)
        peers = self._open[connection.peer]
        self._count -= connection in peers
        peers.discard(connection)
        if not peers:
            del self._open[connection.peer]

    def waits(self, connection: PeerConnection) -> None:
        """Its next request is not there whole; it may have to make room."""
        self.answers(connection)
        if connection in self._open.get(connection.peer, ()):
            self._waiting[connection] = None

    def answers(self, connection: PeerConnection) -> None:
        """Its request is there whole and is being answered."""
        self._waiting.pop(connection, None)
