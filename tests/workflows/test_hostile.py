"""What strangers write is data: it creates no file and changes no output, wherever a workflow reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflows.act import Run
from workflows.hostile import file_name, values
from workflows.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

KINDS = list(values(Path()))


def propose(place: World, text: str) -> Run:
    """A pull request of a page, with a text in every place that its author chooses."""
    place.scratch.branch("page")
    place.scratch.write(f"docs/{file_name(text)}.md", f"# {text}\n")
    place.scratch.commit(text, author=text.replace("\n", " "))
    return place.ci(title=text, body=text, branch=text, actor=text.replace("\n", " "))


@pytest.fixture(scope="module")
def harmless(place: World) -> Run:
    return propose(place, "A page")


@pytest.fixture(scope="module")
def target(place: World) -> Path:
    return place.runner.place / "pwned"


def test_there_are_twelve() -> None:
    assert len(KINDS) == 12


@pytest.mark.parametrize("kind", KINDS)
def test_a_pull_request(place: World, harmless: Run, target: Path, kind: str) -> None:
    run = propose(place, values(target)[kind])
    assert run.status == harmless.status == 0
    assert (run.results, run.outputs) == (harmless.results, harmless.outputs)
    assert not target.exists()
    assert "pwned" not in (place.runner.place / "touched").read_text()
