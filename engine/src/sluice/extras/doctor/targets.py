"""The targets of `sluice doctor`.

One file for each place, one line here. Everything is looked at where it is; what could not be looked at is said to be
not verified, and counts as not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sluice.extras.doctor import aws, cluster, github, local
from sluice.extras.doctor.check import Check, Place

TARGETS: dict[str, Callable[[Place], Iterable[Check]]] = {
    "local": local.check,
    "github": github.check,
    "aws": aws.check,
    "cluster": cluster.check,
}

__all__ = ["TARGETS", "Check", "Place"]
