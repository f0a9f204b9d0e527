"""release.yml as GitHub would run it: the first release, and the same one killed after every step and run again."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.core.extras import extras
from workflows.act import KILLED, Run
from workflows.scratch import Scratch
from workflows.world import World, world

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

NUMBER = 600


class Boundaries:
    """The states of a world before each step of a run: where a step changed it, a machine could die after that."""

    def __init__(self, of: World, *, die_at: int | None = None) -> None:
        self._world = of
        self._die_at = die_at
        self.steps: list[str] = []
        self.states: list[dict[str, Any]] = []

    def __call__(self, step: str) -> bool:
        if len(self.steps) - 1 == self._die_at:
            return False  # it is dead already; a shell was quicker to ask than to end
        self.steps.append(step)
        self.states.append(self._world.state())
        return len(self.steps) - 1 != self._die_at

    def changes(self) -> list[int]:
        return [number for number in range(1, len(self.states)) if self.states[number] != self.states[number - 1]]


@pytest.fixture(scope="module")
def unbroken(place: World) -> Boundaries:
    return Boundaries(place)


@pytest.fixture(scope="module")
def first(place: World, unbroken: Boundaries) -> Run:
    return place.release(number=NUMBER, gate=unbroken)


@pytest.fixture(scope="module")
def release(first: Run) -> str:
    return first.job("release").outputs["stage.release"]


def test_a_first_release_goes_all_the_way(place: World, first: Run, release: str) -> None:
    assert first.status == 0
    assert first.results == dict.fromkeys(
        (
            "release/plan",
            "release/image",
            "release/release",
            "release/sign",
            "staging/deploy-release/deploy",
            "production/deploy-release/deploy",
            "release/publish",
        ),
        "success",
    )
    for environment in ("staging", "production"):
        assert place.record(environment) == [("promoting", release), ("promoted", release)]
    assert place.state()["aliases"] == {"candidate": release, "staging": release, "champion": release}


def test_the_github_release_has_notes_and_files(place: World, first: Run, release: str) -> None:
    ((tag, draft, notes, files),) = place.state()["releases"]
    assert (tag, draft, files) == (release, False, ["judgement.json", "release.json", "report.html"])
    assert "## What changed" in notes
    assert "## Gates" in notes
    assert notes.strip() in first.job("release").summary


def test_artifacts_are_kept_and_signed(place: World, first: Run, release: str) -> None:
    kept = place.artifact("release", run=NUMBER)
    assert release in (kept / "report.html").read_text()
    assert {path.name for path in place.artifact("sbom", run=NUMBER).iterdir()} == {
        "sbom.cdx.json",
        "sbom-load.cdx.json",
    }
    names = ("release.json", "judgement.json", *(["SHA256SUMS"] if "provenance" in extras() else []))
    signed = [f"sha256:{hashlib.sha256((kept / name).read_bytes()).hexdigest()}" for name in names]
    pushed = first.job("image").outputs
    images = [pushed["push.digest"], pushed["push.load-digest"]]
    # Where the images come from, and then what they are made of.
    assert place.kept("attested") == [*signed, *images, *images]
    manifest = json.loads((kept / "release.json").read_text())
    assert (manifest["image"], manifest["load_image"]) == (pushed["push.image"], pushed["push.load-image"])
    ((number,),) = [place.github.releases.by_id]
    assert place.github.releases.contents[number, "release.json"] == (kept / "release.json").read_bytes()


@pytest.fixture(scope="module")
def other(scratch: Scratch, folder: Path) -> Iterator[World]:
    with world(scratch, folder / "other") as made:
        yield made


@pytest.mark.usefixtures("first")
def test_killed_and_run_again_it_ends_as_an_unbroken_one(place: World, other: World, unbroken: Boundaries) -> None:
    """Each attempt lives for four changes longer than the one before, on a fresh machine, and finds what that left.

    A death is compared with the unbroken run at the same step. As long as they are equal, the rest of an attempt starts
    from what the unbroken run had there; so each attempt proves a few more steps, and the last one the end. A death
    after a step that changes nothing is the same as one before it.
    """
    assert len(unbroken.changes()) >= 9
    deaths = unbroken.changes()[::4]
    for attempt, number in enumerate(deaths, 1):
        killed = Boundaries(other, die_at=number)
        run = other.release(number=NUMBER, attempt=attempt, gate=killed)
        assert run.status == KILLED
        assert killed.steps == unbroken.steps[: number + 1]
        assert other.state() == unbroken.states[number], f"after {unbroken.steps[number - 1]}"
    ends = [other.release(number=NUMBER, attempt=len(deaths) + more) for more in (1, 2)]
    for end in ends:  # the second has nothing left to do
        assert end.status == 0
        assert set(end.results.values()) == {"success"}
        assert other.state() == place.state()
