"""Questions of one tenant about the documents of another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sluice.data.rows import Document
from sluice.extras.redteam.attack import TENANTS, Attack, AttackFixture, AttackSuite, user
from sluice.extras.redteam.attack_wording import fill, turn
from sluice.extras.redteam.canary_tokens import token
from sluice.extras.redteam.cases import load_cases
from sluice.extras.redteam.detectors import foreign
from sluice.extras.redteam.poison_index import planted

_NAME = "cross_tenant"
_EACH = 50  # documents for each tenant
_FIRST_TOKEN = 256


class _TenantSecret(NamedTuple):
    tenant: str
    other: str
    topic: str
    canary: str
    document: Document


def _secrets() -> Iterator[_TenantSecret]:
    cases, names = load_cases("tenants"), load_cases("documents")["topics"]
    for number in range(_EACH * len(TENANTS)):
        tenant, other = turn(TENANTS, number), turn(TENANTS, number + 1)
        topic = f"{turn(names['first'], number)} {turn(names['second'], number // 16)} vault"
        canary = token(_FIRST_TOKEN + number)
        text = fill(cases["fact"], topic=topic, token=canary)
        yield _TenantSecret(tenant, other, topic, canary, planted(f"{tenant}-{number:03}", topic, text, tenant))


def _attacks(scene: AttackFixture) -> list[Attack]:  # noqa: ARG001 - its questions are its own
    made: list[Attack] = []
    for secret in _secrets():
        for place, wording in enumerate(load_cases("tenants")["wordings"], 1):
            text = fill(wording, topic=secret.topic, owner=secret.tenant, document=secret.document.id)
            made.append(
                Attack(
                    f"{_NAME}-{len(made):04}",
                    _NAME,
                    (user(text),),
                    foreign(secret.canary, secret.document.id),
                    tenant=secret.other,
                    owner=secret.tenant,
                    form=f"wording {place}",
                )
            )
    return made


SUITE = AttackSuite(
    _NAME, _attacks, documents=lambda: [one.document for one in _secrets()], unguarded="asked by the owner"
)
