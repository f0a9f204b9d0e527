"""act's evaluator of expressions, asked what our own is asked: engine/tests/support/github_expressions.py."""

from __future__ import annotations

import json

import pytest

from support.github_expressions import evaluate
from workflows.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

NEEDS = {
    "plan": {"result": "success", "outputs": {"make": "true", "none": ""}},
    "image": {"result": "Skipped", "outputs": {}},
    "production": {"result": "cancelled", "outputs": {}},
}
QUESTIONS = (
    "needs.plan.result == 'success' && needs.plan.outputs.make == 'true'",
    "needs.image.result == 'skipped'",
    # Of a list: act filters no object that comes out of JSON, as GitHub does.
    """contains(fromJSON('[{"result": "failure"}, {"result": "success"}]').*.result, 'SUCCESS')""",
    """contains(fromJSON('[{"result": "failure"}, {"other": "cancelled"}]').*.result, 'cancelled')""",
    "!contains(needs.plan.result, 'SUCCESS') || needs.absent.result != ''",
    "needs.plan.outputs.absent == ''",
    "needs.absent.outputs.x == null",
    "needs.plan.outputs.none || 'HEAD^1'",
    "needs.plan.outputs.make && 'left' || 'right'",
    "needs.plan.outputs.none != '' && 1 || 0",
    "!needs.absent.private",
    "true == 1 && false == '' && null == 0",
    "'1' == 1 && 'a' != 0 && '' == 0",
    "contains('a long word', 'LONG')",
    "1 < 2 && '2' > 1 && !(2 <= 1)",
    "needs['plan']['result']",
    "'it''s'",
    "fromJSON('[1, 2]')[1]",
)


def test_both_say_the_same(bare: World) -> None:
    steps = [
        {
            "env": {"SAID": "${{ toJSON(" + question.replace("needs", "fromJSON(env.NEEDS)") + ") }}"},
            "run": f"echo {n}=$SAID",
        }
        for n, question in enumerate(QUESTIONS)
    ]
    job = {"runs-on": "ubuntu-24.04", "env": {"NEEDS": json.dumps(NEEDS)}, "steps": steps}
    bare.scratch.branch("expressions")
    bare.scratch.write(
        ".github/workflows/ci.yml", json.dumps({"name": "ci", "on": "pull_request", "jobs": {"ask": job}})
    )
    bare.scratch.commit("Questions")
    run = bare.ci(number=550)
    assert run.status == 0
    said = dict(line.split("=", 1) for line in run.job("ask").log.splitlines() if line.split("=")[0].isdigit())
    there = {question: json.loads(said[str(n)]) for n, question in enumerate(QUESTIONS)}
    assert there == {question: evaluate(question, {"needs": NEEDS}) for question in QUESTIONS}
