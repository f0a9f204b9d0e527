"""What strangers write is data: it creates no file and changes no output, wherever a workflow reads it."""

from __future__ import annotations

import pytest

from workflows.act import Run
from workflows.hostile import NAME, TEXTS, file_name, text
from workflows.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

CARELESS = """\
name: careless
on: pull_request
permissions: {}
jobs:
  careless:
    runs-on: ubuntu-24.04
    steps:
      - run: echo "${{ github.event.pull_request.title }}"
"""


def all_kinds(world: World) -> str:
    return "\n".join(text(kind, world.runner.place) for kind in TEXTS)


def propose(world: World, written: str) -> Run:
    world.scratch.branch("page")
    world.scratch.write(f"docs/{file_name(written)}.md", f"# {written}\n")
    world.scratch.commit(written, author=one_line(written))
    return world.ci(title=one_line(written), body=written, branch=written, actor=one_line(written))


def one_line(written: str) -> str:
    return written.replace("\n", " ")


def traces(world: World) -> list[str]:
    found = [str(path) for path in world.runner.place.rglob(f"*{NAME}*")]
    return found + [line for line in world.kept("touched") if NAME in line]


@pytest.fixture(scope="module")
def harmless(bare: World) -> Run:
    return propose(bare, "A page")


def test_a_pull_request(bare: World, harmless: Run) -> None:
    run = propose(bare, all_kinds(bare))
    assert run.status == harmless.status == 0
    assert (run.results, run.outputs) == (harmless.results, harmless.outputs)
    assert traces(bare) == []


def test_an_input_of_a_dispatch(bare: World) -> None:
    written = all_kinds(bare)
    before = bare.state()
    run = bare.dispatch("rollback.yml", number=801, actor=one_line(written), environment="production", release=written)
    assert run.results == {"rollback/rollback": "failure"}
    assert run.outputs == {}
    assert bare.state() == before
    assert traces(bare) == []


def test_a_careless_workflow_would_be_caught(bare: World) -> None:
    """The proof that these tests can fail: act does what the title says, and it is seen."""
    bare.scratch.branch("careless")
    bare.scratch.write(".github/workflows/ci.yml", CARELESS)
    bare.scratch.commit("Careless")
    bare.ci(title=text("substitution", bare.runner.place))
    assert traces(bare) != []
