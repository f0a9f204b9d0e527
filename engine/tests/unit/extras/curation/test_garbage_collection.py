"""What may be removed from a remote: old versions that nothing needs, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.data.contract import data_digest
from sluice.data.data_policy import DataPolicy
from sluice.data.dvc_remote import version_here
from sluice.data.publish import push, verify
from sluice.extras.curation.garbage_collection import RetainedRelease, collect
from unit.data.conftest import commit, git

POLICY = DataPolicy()
DOCUMENT = "---\nid: {0}\ntitle: T\nlicence: CC0-1.0\nsource: tests\n---\nOn {0}, and nothing else.\n"


def publish(checkout: Workspace, *names: str) -> RetainedRelease:
    """Puts further documents into the data, publishes and commits it; a release that would need it."""
    for path in (checkout.data / "corpus").glob("new-*.md"):
        path.unlink()
    for name in names:
        (checkout.data / "corpus" / f"new-{name}.md").write_text(DOCUMENT.format(f"new-{name}"))
    push(checkout, POLICY)
    return RetainedRelease(f"r-{len(names):012x}", commit(checkout.root), data_digest(checkout.data))


def objects(checkout: Workspace) -> set[str]:
    store = checkout.root.parent / "store"
    return {path.parent.name + path.name for path in store.rglob("*") if path.is_file()}


@pytest.fixture
def three(checkout: Workspace) -> tuple[RetainedRelease, RetainedRelease, RetainedRelease]:
    """Three versions, one after the other; each has a document that the others have not."""
    return publish(checkout, "one"), publish(checkout, "two"), publish(checkout, "three")


@pytest.mark.usefixtures("three")
def test_old_versions_go_and_what_is_here_stays(checkout: Workspace) -> None:
    before = objects(checkout)
    planned = collect(checkout, [])
    assert len(planned.removable) == 4  # two lists and two documents
    assert objects(checkout) == before, "without --delete nothing goes"
    assert collect(checkout, [], delete=True).removable == planned.removable
    assert objects(checkout) == before - set(planned.removable)
    verify(checkout)
    assert collect(checkout, []).removable == ()


def test_what_a_kept_release_needs_stays(
    checkout: Workspace, three: tuple[RetainedRelease, RetainedRelease, RetainedRelease]
) -> None:
    first, _, _ = three
    done = collect(checkout, [first], delete=True)
    assert f"release {first.id}" in done.versions.values()
    assert len(done.removable) == 2
    git(checkout.root, "checkout", "--quiet", first.commit)
    verify(checkout)


def test_a_release_made_before_its_data_was_committed_is_found_by_its_digest(
    checkout: Workspace, three: tuple[RetainedRelease, RetainedRelease, RetainedRelease]
) -> None:
    first, second, _ = three
    made_early = RetainedRelease("r-early", f"{first.commit}-dirty", second.digest)
    done = collect(checkout, [made_early], delete=True)
    git(checkout.root, "checkout", "--quiet", second.commit)
    verify(checkout)
    assert done.versions[version_here(checkout)] == "release r-early"


def test_a_release_whose_data_nobody_knows_stops_everything(
    checkout: Workspace, three: tuple[RetainedRelease, RetainedRelease, RetainedRelease]
) -> None:
    before = objects(checkout)
    with pytest.raises(ValidationErrors, match="nothing was removed") as raised:
        collect(checkout, [RetainedRelease("r-lost", three[0].commit, "0" * 64)], delete=True)
    assert raised.value.faults == [f"release r-lost: no version of data.dvc known here has the digest {'0' * 64}"]
    assert objects(checkout) == before


def test_the_tips_of_branches_and_tags_stay(
    checkout: Workspace, three: tuple[RetainedRelease, RetainedRelease, RetainedRelease]
) -> None:
    git(checkout.root, "branch", "kept", three[0].commit)
    git(checkout.root, "tag", "v1", three[1].commit)
    assert collect(checkout, [], delete=True).removable == ()


@pytest.mark.usefixtures("three")
def test_a_version_that_the_history_does_not_know_stays(checkout: Workspace) -> None:
    """Somebody has published it and not committed it yet; it holds a document of an old version."""
    (checkout.data / "corpus" / "new-one.md").write_text(DOCUMENT.format("new-one"))
    push(checkout, POLICY)
    pointer = (checkout.root / "data.dvc").read_bytes()
    git(checkout.root, "checkout", "--quiet", "data.dvc")
    assert len(collect(checkout, [], delete=True).removable) == 3
    (checkout.root / "data.dvc").write_bytes(pointer)
    verify(checkout)


def test_what_a_killed_push_left_half_written_goes_and_strangers_stay(
    checkout: Workspace, three: tuple[RetainedRelease, RetainedRelease, RetainedRelease]
) -> None:
    place = checkout.root.parent / "store" / "files" / "md5" / "ab"
    place.mkdir(exist_ok=True)
    (place / ".half.tmp").write_text("half")
    (place / ("c" * 30)).write_text("of another pipeline")
    done = collect(checkout, list(three), delete=True)
    assert done.removable == ("ab.half.tmp",)
    assert done.unknown == 1
    assert [path.name for path in place.iterdir()] == ["c" * 30]


def test_a_needed_version_that_is_not_whole_stops_everything(
    checkout: Workspace, three: tuple[RetainedRelease, RetainedRelease, RetainedRelease]
) -> None:
    first = three[0]
    version = git(checkout.root, "show", f"{first.commit}:data.dvc").split("md5: ")[1].split()[0]
    for place in (checkout.root.parent / "store", checkout.root / ".dvc" / "cache"):
        (place / "files" / "md5" / version[:2] / version[2:]).unlink()
    before = objects(checkout)
    with pytest.raises(ValidationErrors, match="nothing was removed"):
        collect(checkout, [first], delete=True)
    git(checkout.root, "branch", "kept", first.commit)
    with pytest.raises(ValidationErrors, match="refs/heads/kept"):
        collect(checkout, [], delete=True)
    assert objects(checkout) == before


def test_a_shallow_clone_knows_too_little(checkout: Workspace, tmp_path: Path) -> None:
    publish(checkout, "one")
    clone = tmp_path / "shallow"
    git(checkout.root, "clone", "--quiet", "--depth=1", f"file://{checkout.root}", str(clone))
    with pytest.raises(SluiceError, match="git fetch --unshallow"):
        collect(Workspace(clone), [])
