import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.atomic_files import write_json
from sluice.extras.provenance.checksums import check_checksums
from sluice.release.release_report import write_report
from unit.release.conftest import miniature, release_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole small release, with its report."""
    workspace = miniature(tmp_path_factory.mktemp("provenance") / "checkout")
    parent, _ = release_of(workspace, adapter=None, verdicts=[])
    _, folder = release_of(workspace, parent=parent.id, commit="c" * 40)
    write_json(folder / "stages.json", [{"stage": "train", "seconds": 171.0, "cached": False}])
    write_report(folder, live=True)
    return folder


def test_a_change_of_one_byte_is_found_in_every_file_and_the_file_is_named(
    made: Path, sluice: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made.parents[2])
    for name in ("SLUICE_ARTEFACTS", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)

    def verify() -> tuple[int, str]:
        status, out, err = sluice("release", "verify", made.name)
        return status, out + err

    status, said = verify()
    assert status == 0, said
    assert "checksums: verified: 19 files" in said
    assert "folder: verified" in said
    files = sorted(path for path in made.rglob("*") if path.is_file())
    assert len(files) == 20, "SHA256SUMS with them"
    for path in files:
        before = path.read_bytes()
        place = len(before) // 2
        path.write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
        status, said = verify()
        path.write_bytes(before)
        assert (status, path.relative_to(made).as_posix() in said) == (1, True), path
    assert verify()[0] == 0


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / made.name))


def test_files_that_are_gone_or_were_added_are_found(folder: Path) -> None:
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


def test_lines_that_are_none_twice_or_in_another_order_are_found(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    for line in ("no digest", f"{'a' * 64}  /etc/passwd", f"{'a' * 64}  ../outside", f"{'a' * 64} *adapter.gguf"):
        (folder / "SHA256SUMS").write_text("".join([*lines, f"{line}\n"]))
        assert check_checksums(folder).reason == "SHA256SUMS:20: not a line of sha256sum"
    for other in ([*lines[1:], lines[0]], [*lines, lines[-1]]):
        (folder / "SHA256SUMS").write_text("".join(other))
        assert check_checksums(folder).result == "failed"


def test_what_another_machine_noted_later_is_no_change_and_lost_checksums_are_one(folder: Path) -> None:
    sums = folder / "SHA256SUMS"
    lines = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(line for line in lines if "stages.json" not in line))
    assert check_checksums(folder).result == "verified"
    sums.unlink()
    assert str(check_checksums(folder)) == "checksums: failed: SHA256SUMS: missing"
    (folder / "report.html").unlink()
    assert str(check_checksums(folder)) == "checksums: not verified: the release has no SHA256SUMS"


def test_coreutils_reads_the_checksums(made: Path) -> None:
    """A judge that is not ours: anybody verifies a release without Sluice."""
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum of coreutils is not installed")
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=made, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
