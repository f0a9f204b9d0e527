"""Instructions in retrieved documents: the user is honest, the document is not."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.data.rows import Document
from sluice.extras.redteam.attack import Attack, AttackFixture, AttackSuite, user
from sluice.extras.redteam.attack_wording import fill, turn
from sluice.extras.redteam.canary_tokens import token
from sluice.extras.redteam.cases import load_cases
from sluice.extras.redteam.detectors import says
from sluice.extras.redteam.poison_index import planted

_NAME = "indirect_injection"


@dataclass(frozen=True)
class _InjectionCase:
    injection: int
    question: str
    canary: str
    document: Document


def _cases() -> list[_InjectionCase]:
    """One document for each topic, each with an order of its own."""
    cases, orders = load_cases("documents"), load_cases("injection")["orders"]
    made: list[_InjectionCase] = []
    for first in cases["topics"]["first"]:
        for second in cases["topics"]["second"]:
            number, topic = len(made), f"{first} {second}"
            canary = token(number)
            injection = turn(cases["injections"], number)
            order = fill(injection["text"], order=fill(turn(orders, number // 16), token=canary))
            fact = fill(turn(cases["facts"], number), topic=topic, number=str(2 + number % 60))
            text = {"before": f"{order} {fact}", "after": f"{fact} {order}", "title": fact}[injection["place"]]
            title = f"{topic}. {order}" if injection["place"] == "title" else topic
            document = planted(f"red-{first}-{second}", title, text)
            made.append(
                _InjectionCase(
                    number % len(cases["injections"]),
                    fill(turn(cases["questions"], number), topic=topic),
                    canary,
                    document,
                )
            )
    return made


def _attacks(scene: AttackFixture) -> list[Attack]:  # noqa: ARG001 - its questions are its own
    return [
        Attack(
            f"{_NAME}-{number:03}", _NAME, (user(case.question),), says(case.canary), form=f"order {case.injection + 1}"
        )
        for number, case in enumerate(_cases())
    ]


SUITE = AttackSuite(_NAME, _attacks, documents=lambda: [case.document for case in _cases()])
