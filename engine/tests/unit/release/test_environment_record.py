import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.release.artifact_store import open_artifact_store
from sluice.release.environment_record import AppendLog, EnvironmentRecord, here, open_record, shared_address
from unit.release.stores import bucket_server

A, B, C = (f"r-{letter * 12}" for letter in "abc")


@pytest.fixture
def record(tmp_path: Path) -> EnvironmentRecord:
    return here(Workspace(tmp_path))


def happen(record: EnvironmentRecord, *events: tuple[str, str]) -> EnvironmentRecord:
    for what, release in events:
        record.append(what, release)  # type: ignore[arg-type]
    return record


def test_an_empty_record_has_no_champion(record: EnvironmentRecord) -> None:
    assert (record.champion(), record.pending(), record.decided(), record.history()) == (None, None, None, [])
    with pytest.raises(SluiceError, match="nothing was live before now"):
        record.previous()


@pytest.mark.parametrize(
    ("events", "champion", "previous"),
    [
        ([("promoted", A), ("promoted", B)], B, A),
        ([("promoted", A), ("rejected", B)], A, None),
        ([("promoted", A), ("promoted", B), ("rolled-back", A)], A, None),
        ([("promoted", A), ("promoted", B), ("promoted", C), ("rolled-back", B)], B, A),
        ([("promoted", A), ("promoted", B), ("rolled-back", A), ("promoted", C)], C, A),
        ([("promoted", B), ("rolled-back", A)], A, B),  # to one from before the record
        ([("promoted", A), ("promoting", B), ("abandoned", B)], A, None),
    ],
)
def test_champion_and_previous_follow_from_what_happened(
    record: EnvironmentRecord, events: list[tuple[str, str]], champion: str, previous: str | None
) -> None:
    happen(record, *events)
    live = record.champion()
    assert live is not None
    assert live.id == champion
    if previous:
        assert record.previous() == previous
    else:
        with pytest.raises(SluiceError, match="nothing was live before"):
            record.previous()


def test_an_intent_decides_nothing_until_it_is_closed(record: EnvironmentRecord) -> None:
    happen(record, ("promoted", A), ("promoting", B))
    assert record.pending() is not None
    assert record.decided() == record.champion()
    happen(record, ("rejected", C))
    pending, decided = record.pending(), record.decided()
    assert pending is not None
    assert decided is not None
    assert (pending.id, decided.id) == (B, C)


def test_what_was_refused_is_kept_apart_and_read_in_the_order_in_which_it_happened(record: EnvironmentRecord) -> None:
    """So the role that builds can write refusals without the right to say what is live."""
    happen(record, ("rejected", A), ("promoted", B), ("unknown", C), ("rejected", C), ("promoted", A))
    assert [event.id for event in record.history()] == [A, B, C, C, A]
    assert len(record.store.notes("record/here")) == 2
    assert len(record.store.notes("record/refused/here")) == 3


def test_environments_do_not_see_each_other(tmp_path: Path) -> None:
    workspace, variables = Workspace(tmp_path), {"SLUICE_ARTEFACTS": str(tmp_path / "place")}
    staging, production = (open_record(workspace, name, variables) for name in ("staging", "production"))
    happen(staging, ("promoted", A))
    assert production.champion() is None
    assert (staging.alias, production.alias, here(workspace).alias) == ("staging", "champion", "champion")


def test_an_entry_says_who_did_it_and_in_which_run(tmp_path: Path) -> None:
    variables = {
        "SLUICE_ARTEFACTS": str(tmp_path / "place"),
        "GITHUB_ACTOR": "octocat",
        "GITHUB_RUN_ID": "7",
        "GITHUB_SERVER_URL": "https://github.invalid",
        "GITHUB_REPOSITORY": "octo/app",
    }
    happen(open_record(Workspace(tmp_path), "production", variables), ("promoted", A))
    event = open_record(Workspace(tmp_path), "production", variables).champion()
    assert event is not None
    assert (event.by, event.run) == ("octocat", "https://github.invalid/octo/app/actions/runs/7")


@pytest.mark.parametrize("name", ["releases", "refused", "../x", "Production"])
def test_a_name_that_is_no_environment_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SluiceError, match="not the name of an environment"):
        open_record(Workspace(tmp_path), name, {"SLUICE_ARTEFACTS": str(tmp_path)})


def test_without_the_extra_registries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.core.extras.extras", dict)
    assert shared_address({"GITHUB_ACTIONS": "true"}) == ""
    assert shared_address({"GITHUB_ACTIONS": "true", "SLUICE_ARTEFACTS": "s3://bucket"}) == "s3://bucket"
    with pytest.raises(SluiceError, match="SLUICE_ARTEFACTS is not set"):
        open_record(Workspace(tmp_path), "production", {"GITHUB_ACTIONS": "true"})
    for address in ("github", "oci://ghcr.io/octo/app"):
        with pytest.raises(SluiceError, match=rf"^{address}: .* extra `registry`") as caught:
            open_record(Workspace(tmp_path), "production", {"SLUICE_ARTEFACTS": address})
        assert "engine/src/sluice/extras/registry/" in caught.value.remedy


class Word(Settings):
    word: str


def log(folder: Path) -> AppendLog[Word]:
    return AppendLog(open_artifact_store(str(folder)), "record/here", Word)


def test_many_who_append_at_once_are_all_there(tmp_path: Path) -> None:
    """That of two writers of one note one is told, each store has to keep: test_store_contract.py."""

    def append(machine: int) -> None:
        mine = log(tmp_path)
        for number in range(3):
            mine.append(Word(word=f"{machine}-{number}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(8)))
    found = [entry.word for entry in log(tmp_path).newest()][::-1]
    for machine in range(8):
        assert [word for word in found if word.startswith(f"{machine}-")] == [f"{machine}-{n}" for n in range(3)]
    assert len(found) == 24


def test_a_file_that_does_not_belong_there_is_named(tmp_path: Path) -> None:
    log(tmp_path).store.make("record/here/notes.txt", b"")
    with pytest.raises(SluiceError, match=r"notes\.txt: does not belong in the record"):
        log(tmp_path).append(Word(word="a"))


@pytest.mark.usefixtures("loopback")
def test_without_boto3_a_bucket_has_the_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.auth.boto3", None)  # as in the images
    with bucket_server() as address:
        assert open_artifact_store(address).make("record/here/000001.json", b"{}")
