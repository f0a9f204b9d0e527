"""`sluice release verify` finds every single change to a release and names the file."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.cli import main
from sluice.extras.provenance.checksums import check_checksums
from unit.extras.provenance.changes import CHANGES
from unit.extras.provenance.conftest import MadeRelease

SEEDS = 19  # for each of the kinds: 190 changes


def verify(made: MadeRelease, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.workspace.root)
        patch.delenv("SLUICE_ARTEFACTS", raising=False)
        patch.delenv("GITHUB_REPOSITORY", raising=False)
        patch.setattr(sys, "argv", ["sluice", "release", "verify", made.manifest.id])
        status = main()
    said = capsys.readouterr()
    return status, said.out + said.err


def test_a_whole_release_is_verified(made: MadeRelease, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = verify(made, capsys)
    assert status == 0
    assert "checksums: verified: 19 files" in said
    assert "folder: verified" in said


@pytest.mark.parametrize("kind", CHANGES)
def test_every_single_change_is_found_and_its_file_is_named(
    made: MadeRelease, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    missed = []
    for seed in range(SEEDS):
        before = {path: path.read_bytes() for path in made.folder.rglob("*") if path.is_file()}
        changed = CHANGES[kind](made.folder, random.Random(f"{kind} {seed}"))
        assert changed.read_bytes() != before[changed]
        status, said = verify(made, capsys)
        if status != 1 or changed.relative_to(made.folder).as_posix() not in said:
            missed.append((seed, changed.name, status, said))
        changed.write_bytes(before[changed])
    assert missed == []
    assert verify(made, capsys)[0] == 0


def test_files_that_are_gone_or_were_added_are_found(made: MadeRelease, tmp_path: Path) -> None:
    folder = tmp_path / made.manifest.id
    shutil.copytree(made.folder, folder)
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"):
        content = path.read_bytes()
        path.unlink()
        check = check_checksums(folder)
        assert (check.result, check.reason) == ("failed", f"{path.relative_to(folder).as_posix()}: missing")
        path.write_bytes(content)
    (folder / "evaluation" / "notes.txt").write_text("added")
    assert check_checksums(folder).reason == "evaluation/notes.txt: not in SHA256SUMS"
    (folder / "evaluation" / "notes.txt").unlink()
    assert check_checksums(folder).result == "verified"


@pytest.mark.parametrize(
    "line", ["no digest", f"{'a' * 64}  /etc/passwd", f"{'a' * 64}  ../outside", f"{'a' * 64} *adapter.gguf"]
)
def test_a_line_that_is_none_is_found(made: MadeRelease, tmp_path: Path, line: str) -> None:
    folder = tmp_path / made.manifest.id
    shutil.copytree(made.folder, folder)
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{line}\n")
    assert check_checksums(folder).reason == "SHA256SUMS:20: not a line of sha256sum"


def test_lines_in_another_order_or_twice_are_found(made: MadeRelease, tmp_path: Path) -> None:
    folder = tmp_path / made.manifest.id
    shutil.copytree(made.folder, folder)
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    for other in ([*lines[1:], lines[0]], [*lines, lines[-1]]):
        (folder / "SHA256SUMS").write_text("".join(other))
        assert check_checksums(folder).result == "failed"


def test_a_rehearsal_on_another_machine_is_no_change(made: MadeRelease, tmp_path: Path) -> None:
    """The release was closed where it was made; what watched it later is beside it."""
    folder = tmp_path / made.manifest.id
    shutil.copytree(made.folder, folder)
    sums = folder / "SHA256SUMS"
    lines = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(line for line in lines if "rehearsal.json" not in line))
    assert check_checksums(folder).result == "verified"


def test_a_release_of_before_is_not_verified_and_one_that_lost_its_checksums_fails(
    made: MadeRelease, tmp_path: Path
) -> None:
    folder = tmp_path / made.manifest.id
    shutil.copytree(made.folder, folder)
    (folder / "SHA256SUMS").unlink()
    assert str(check_checksums(folder)) == "checksums: failed: SHA256SUMS: missing"
    (folder / "report.html").unlink()
    assert str(check_checksums(folder)) == "checksums: not verified: the release has no SHA256SUMS"


def test_coreutils_reads_the_checksums(made: MadeRelease) -> None:
    """A judge that is not ours: anybody verifies a release without Sluice."""
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum of coreutils is not installed")
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=made.folder, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
