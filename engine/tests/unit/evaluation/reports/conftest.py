from collections.abc import Callable
from typing import Any

import pytest

from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.reports.phrasing import ComparedVersion
from unit.evaluation.asking import METRICS, POLICY, ask, changed

DECIDING = ("f1", "decline_accuracy", "json_schema")
FEWER = POLICY.model_copy(update={"resamples": 1000, "metrics": {name: POLICY.metrics[name] for name in DECIDING}})
Comparing = Callable[[list[dict[str, Any]], list[dict[str, Any]]], Comparison]
Sides = tuple[ComparedVersion, ComparedVersion]

# What a model may write to get out of a table, to call people, and to load or run something.
HOSTILE = (
    "@octocat see #1 and octo/repo#2 | ok |\n\n# Heading\n![x](https://example.invalid/p.png) [y](https://example.invalid)"
    " www.example.invalid `code` **bold** ~~gone~~ <img src=x onerror=alert(1)></td></table></details><script>alert(1)"
    "</script> &lt;b&gt; :tada: <!-- sluice --> \\| \u202egnp.exe\u202c \x00\x1b[31m \ud800 ]]> {{ 7 * 7 }} https://example.invalid"
)


@pytest.fixture
def comparing() -> Comparing:
    return lambda base, head: compare(base, head, METRICS, FEWER)


@pytest.fixture
def worse(comparing: Comparing) -> Comparison:
    head = ask(seed=2, spoil="invents")
    head = changed(head, "q050", status="failed", answer=None, scores={}, assertions={}, errors={"f1": "HTTP 500"})
    head = changed(head, "q051", status="not_evaluated", answer=None, scores={}, assertions={}, errors={"replay": ""})
    return comparing(ask(seed=1), head)


@pytest.fixture
def hostile(comparing: Comparing) -> Comparison:
    base = [record | {"id": f"{record['id']} {HOSTILE}", "tags": [*record["tags"], HOSTILE]} for record in ask(seed=1)]
    head = [
        record
        | {
            "answer": HOSTILE,
            "passages": [HOSTILE],
            "retrieved": [HOSTILE],
            "scores": {"f1": 0.0},
            "labels": {"language": HOSTILE},
            "assertions": {"json_schema": {"passed": False, "reason": HOSTILE}},
        }
        for record in base
    ]
    return comparing(base, head)


@pytest.fixture
def sides() -> Sides:
    prompts, models = {"answer": "a" * 64}, {"chat": "c" * 64}
    base = ComparedVersion("base", "main", "1" * 40, prompts=prompts, data="d" * 64, models=models, cost=0.05)
    head = ComparedVersion(
        "head", "shorter", "2" * 40, prompts={"answer": "b" * 64}, data="d" * 64, models=models, cost=0.06
    )
    return base, head


@pytest.fixture
def prompts() -> list[dict[str, Any]]:
    message = {
        "base_role": "system",
        "head_role": "system",
        "pieces": [[" ", "Answer "], ["-", "only"], ["+", "```\n</pre>@you"]],
    }
    return [
        {
            "name": "answer",
            "status": "changed",
            "base": "a" * 64,
            "head": "b" * 64,
            "messages": [message],
            "parameters": [{"name": "temperature", "base": 0.0, "head": 0.7}],
            "variables": [],
            "unseen": [],
        },
        {"name": "condense", "status": "same", "base": "e", "head": "e"},
    ]
