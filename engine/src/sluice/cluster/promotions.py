"""Which pod templates have been promoted in an environment, remembered on its Rollout.

Argo Rollouts numbers revisions whatever became of them, so "the one before" may be one that its canary had stopped.
What was promoted is therefore written down when it happens, as annotations of the Rollout: hashes of pod templates,
newest first. `sluice rollback` chooses from them, and guesses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from sluice.cluster.kubectl import patch

_PROMOTED, _LEFT = "sluice/promoted", "sluice/rolled-back-from"
_KEPT = 20
# On a Rollout of which no release was judged yet: the extra `first_release` writes it.
UNJUDGED = "sluice/unjudged"


@dataclass(frozen=True)
class Promotions:
    """`promoted`: the last of them is live. `left`: promoted as well, and rolled back from. Newest first."""

    promoted: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def known(self) -> frozenset[str]:
        return frozenset(self.promoted + self.left)

    def with_promoted(self, template_hash: str, *, instead_of: str = "") -> Promotions:
        """What is known once a template is live, for which another may have been rolled back from."""
        gone = {template_hash, instead_of}
        left = (instead_of, *self.left) if instead_of else self.left
        return Promotions(
            (template_hash, *(one for one in self.promoted if one not in gone))[:_KEPT],
            tuple(dict.fromkeys(one for one in left if one != template_hash))[:_KEPT],
        )


def read_promotions(rollout: Mapping[str, Any]) -> Promotions:
    annotations = rollout["metadata"].get("annotations") or {}
    return Promotions(*(tuple(str(annotations.get(key, "")).split()) for key in (_PROMOTED, _LEFT)))


def is_unjudged(rollout: Mapping[str, Any]) -> bool:
    """No release of it may have visitors yet."""
    return UNJUDGED in (rollout["metadata"].get("annotations") or {})


def write_promotions(client: httpx.Client, path: str, now: Promotions) -> None:
    """As a patch: an annotation that a server-side apply of `sluice deploy` does not own stays."""
    annotations = {_PROMOTED: " ".join(now.promoted), _LEFT: " ".join(now.left), UNJUDGED: None}
    patch(client, path, {"metadata": {"annotations": annotations}})
