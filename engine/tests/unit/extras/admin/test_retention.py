# ruff: noqa: F811 - a fixture that is imported is named by the tests
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.admin import retention
from sluice.extras.admin.retention import PrunedReleases
from sluice.release import catalogue, environment_record
from sluice.release.artifact_store import ArtifactStore
from sluice.release.catalogue import CatalogueEntry, fetch
from sluice.release.environment_record import EnvironmentRecord
from sluice.release.manifest import Manifest
from unit.cli.test_index_build import run  # noqa: F401 - a fixture
from unit.release.conftest import PROMPT, make, small_models, workspace, write_evaluation  # noqa: F401 - fixtures
from unit.release.stores import StoreUnderTest, shared  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("small_models")
Add = Callable[..., CatalogueEntry]
Prune = Callable[[int], PrunedReleases]
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two days have passed: what was just made is no longer young."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            assert tz is UTC
            return datetime.now(UTC) + timedelta(days=2)

    monkeypatch.setattr(retention, "datetime", Later)


@pytest.fixture
def prune(shared: StoreUnderTest, workspace: Workspace) -> Prune:
    return lambda keep: retention.prune(shared.open(), workspace, keep)


@pytest.fixture
def add(shared: StoreUnderTest, workspace: Workspace, make: Callable[..., tuple[Manifest, Path]]) -> Add:
    """Puts one more release into the store; each differs in a prompt and in its evaluation, and shares the rest."""
    count = 0

    def more(*, baseline: bool = False) -> CatalogueEntry:
        nonlocal count
        count += 1
        (workspace.prompts / "answer.prompt.yml").write_text(PROMPT.replace("Answers", f"Answers {count} times"))
        write_evaluation(workspace.build / "evaluation", f1=count / 100)
        _, folder = make(**({"adapter": None, "verdicts": []} if baseline else {}))
        catalogue.add(shared.open(), workspace, folder, f"{count}" * 40, baseline=baseline)
        return next(catalogue.newest(shared.open()))

    return more


def promoted(store: ArtifactStore, environment: str, *entries: CatalogueEntry) -> None:
    record = EnvironmentRecord(store, environment)
    for entry in entries:
        record.append("promoting", entry.id)
        record.append("promoted", entry.id)


def whole(store: ArtifactStore, entry: CatalogueEntry, folder: Path) -> bool:
    """Whether a release comes back with its models and its evaluation, on a machine that has neither."""
    fetch(entry.digest, store, folder / entry.id, Workspace(folder / "machine"))
    return all(store.has(digest) for digest in entry.making.values())


@pytest.mark.usefixtures("later")
def test_what_is_live_was_live_or_is_new_stays_and_the_rest_goes(
    shared: StoreUnderTest, add: Add, prune: Prune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = shared.open()
    entries = [add(baseline=True), *(add() for _ in range(7))]
    baseline, live_long_ago, before, refused, live, staged, old, new = entries
    promoted(store, "production", live_long_ago, before, live)
    promoted(store, "staging", staged)
    EnvironmentRecord(store, "production").append("rejected", refused.id)
    kept = {baseline.id, before.id, live.id, staged.id, old.id, new.id}
    done = prune(2)
    assert (done.kept, {*done.releases}) == (kept, {live_long_ago.id, refused.id})
    assert {entry.id for entry in catalogue.newest(shared.open())} == kept
    shared.collect_garbage()
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "other-cache"))
    for entry in entries:
        if entry.id in kept:
            assert whole(shared.open(), entry, tmp_path)
    for entry in (live_long_ago, refused):
        with pytest.raises(SluiceError, match=f"no release {entry.id}"):
            catalogue.find(shared.open(), entry.id)
        assert not shared.open().has(entry.digest)
    assert prune(2).names == ()


def test_what_is_of_today_stays(add: Add, prune: Prune) -> None:
    for _ in range(3):
        add()
    done = prune(1)
    assert (len(done.kept), done.releases, done.names) == (3, (), ())


@pytest.mark.usefixtures("later")
def test_a_release_that_is_added_meanwhile_is_whole(
    shared: StoreUnderTest,
    add: Add,
    prune: Prune,
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = add(), add()
    kind = type(shared.open())
    notes, added = kind.notes, []

    def add_after_the_look(self: ArtifactStore, folder: str) -> list[str]:
        found = notes(self, folder)
        if not added and found[-1].endswith("000003.json"):  # the removal is noted, nothing is removed yet
            added.append(catalogue.FOLDER)
            catalogue.add(shared.open(), workspace, workspace.releases / first.id, first.commit)
        return found

    monkeypatch.setattr(kind, "notes", add_after_the_look)
    prune(1)
    assert added
    assert [entry.id for entry in catalogue.newest(shared.open())] == [first.id, second.id]
    assert whole(shared.open(), first, tmp_path)


@pytest.mark.usefixtures("later")
def test_nothing_is_removed_when_a_kept_release_cannot_be_read(shared: StoreUnderTest, add: Add, prune: Prune) -> None:
    first, second = add(), add()
    shared.spoil(second.digest, None)
    with pytest.raises(SluiceError, match=second.digest):
        prune(1)
    assert [entry.id for entry in catalogue.newest(shared.open())] == [second.id, first.id]
    assert shared.open().has(first.digest)


@pytest.mark.usefixtures("later")
def test_a_run_that_was_cut_off_is_completed_by_the_next(
    shared: StoreUnderTest, add: Add, prune: Prune, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = add(), add()

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(shared.open()), "remove", cut_off)
        with pytest.raises(KeyboardInterrupt):
            prune(1)
    assert prune(1).names
    shared.collect_garbage()
    assert not shared.open().has(first.digest)


def test_on_github_without_a_store_there_is_nothing_to_remove(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("SLUICE_ARTEFACTS", raising=False)
    monkeypatch.setattr(environment_record, "hooks", lambda _: {})
    status, said = run("release", "prune")
    assert (status, said.startswith("nothing to remove: ")) == (0, True)


@pytest.mark.usefixtures("later")
def test_the_command_says_what_it_removes(
    shared: StoreUnderTest, add: Add, workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = add(), add()
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("SLUICE_ARTEFACTS", shared.address)
    assert run("release", "prune", "--keep", "2", "--dry-run") == (0, "2 releases stay\n")
    status, would = run("release", "prune", "--keep", "1", "--dry-run")
    assert (status, would.splitlines()[0]) == (0, f"would remove {first.id}")
    assert would.endswith("\n1 releases stay\n")
    assert shared.open().has(first.digest)
    assert run("release", "prune", "--keep", "1") == (0, would.replace("would remove", "removed"))
    shared.collect_garbage()
    assert not shared.open().has(first.digest)
