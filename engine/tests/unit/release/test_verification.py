from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.release import catalogue, verification
from sluice.release.artifact_store import open_artifact_store
from sluice.release.verification import check_artifact_store, check_attestation, check_folder
from unit.release.conftest import Make

Gh = Callable[[str], str]
FILES = ("release.json", "judgement.json")
GITHUB = {"GITHUB_REPOSITORY": "octo/app"}


@pytest.fixture
def folder(make: Make, small_models: None) -> Path:  # noqa: ARG001
    return make()[1]


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_of_either_file_is_found_wherever_it_is(folder: Path, name: str) -> None:
    assert check_folder(folder).result == "verified"
    whole = (folder / name).read_bytes()
    for place in range(0, len(whole), 17):
        (folder / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert check_folder(folder).result == "failed", place
    for other in (whole + b"\n", b" " + whole):
        (folder / name).write_bytes(other)
        assert check_folder(folder).result == "failed"
    (folder / name).unlink()
    assert check_folder(folder).result == "failed"


def test_every_artefact_in_the_place_is_read_again(folder: Path, workspace: Workspace, tmp_path: Path) -> None:
    store = open_artifact_store(str(tmp_path / "place"))
    catalogue.add(store, workspace, folder, "1" * 40)
    assert check_artifact_store(store, workspace, folder).result == "verified"
    for blob in (tmp_path / "place" / "sha256").iterdir():
        whole = blob.read_bytes()
        for damage in (lambda path=blob, was=whole: path.write_bytes(was + b" "), blob.unlink):
            damage()
            check = check_artifact_store(store, workspace, folder)
            assert (check.result, blob.name in check.reason) == ("failed", True)
            blob.write_bytes(whole)
    assert check_artifact_store(store, workspace, folder).result == "verified"


def test_a_release_must_be_in_the_place_to_be_verified(folder: Path, workspace: Workspace, tmp_path: Path) -> None:
    assert check_artifact_store(open_artifact_store(str(tmp_path / "empty")), workspace, folder).result == "failed"
    assert check_artifact_store(None, workspace, folder).result == "not verified"


@pytest.fixture
def gh(tmp_path: Path) -> Gh:
    """A program in place of GitHub's; it writes what it was asked into the file `asked`."""

    def make(script: str) -> str:
        program = tmp_path / "gh"
        program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{script}\n')
        program.chmod(0o755)
        return str(program)

    return make


def test_an_attestation_is_asked_for_this_repository_and_this_workflow(folder: Path, gh: Gh, tmp_path: Path) -> None:
    check = check_attestation(folder, GITHUB, gh=gh("exit 0"))
    assert check.result == "verified"
    for name, line in zip(FILES, (tmp_path / "asked").read_text().splitlines(), strict=True):
        signer = "--repo octo/app --signer-workflow octo/app/.github/workflows/release.yml"
        assert line == f"attestation verify {folder / name} {signer}"
    one = check_attestation(folder, GITHUB, gh=gh('case "$3" in *judgement.json) exit 1;; esac'))
    assert (one.result, one.reason) == ("failed", f"judgement.json: {tmp_path / 'gh'} ended with 1")


@pytest.mark.parametrize(
    ("script", "result", "says"),
    [
        ("echo trying >&2; echo no attestations found >&2; exit 1", "failed", "no attestations found"),
        ("exit 1", "failed", "ended with 1"),
        ("echo run gh auth login >&2; exit 4", "not verified", "run gh auth login"),
        ("sleep 60", "not verified", "no answer"),
    ],
)
def test_gh_says_no(folder: Path, gh: Gh, script: str, result: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "sleep" in script:
        monkeypatch.setattr(verification, "_SECONDS", 0.2)
    check = check_attestation(folder, GITHUB, gh=gh(f"exec {script}" if "sleep" in script else script))
    assert check.result == result
    assert says in check.reason


def test_without_gh_or_a_repository_nothing_is_verified(folder: Path, gh: Gh) -> None:
    assert check_attestation(folder, GITHUB, gh="gh-that-is-not-here").result == "not verified"
    assert check_attestation(folder, {}).reason == "GITHUB_REPOSITORY is not set"
    unsigned = check_attestation(folder, GITHUB, gh=gh("exit 1"), signed=False)  # GitHub knows none, and need not
    assert (unsigned.result, unsigned.reason) == ("not verified", "nothing is signed here")
