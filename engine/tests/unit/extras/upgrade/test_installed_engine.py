"""An engine from a wheel: real repositories, the real pip and make, and an index of packages on this machine.

The index is the "simple" one of PEP 503, https://peps.python.org/pep-0503/: a page of links for each project, which pip
reads. What is refused is refused by pip itself.
"""

import os
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sluice import cli
from sluice.core.errors import SluiceError
from sluice.core.workspace import LOCK, MARKER, Workspace
from sluice.extras.upgrade import held_engine
from sluice.extras.upgrade.engine_wheel import contents, lock_of, pack, pinned, read_lock, unpack
from sluice.extras.upgrade.held_engine import bring, install, vendor
from sluice.extras.upgrade.upgrade_engine import describe
from sluice.template.owned import edits, list_files
from support.git import git
from support.local_server import served_folder
from unit.extras.upgrade.conftest import Fork
from unit.template.conftest import ROOT, commit, write

METRIC = "engine/src/sluice/evaluation/metrics/digits.py"
SCRIPT = "engine/requirements/compile.sh"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Fork:
    made = Fork(tmp_path_factory.mktemp("made"))
    script = made.template.root / SCRIPT
    write(made.template.root, {SCRIPT: "#!/bin/sh\n"})
    script.chmod(0o755)
    made.template.release("0.1.1", {"Makefile": (ROOT / "Makefile").read_text()})
    git(made.root, "merge", "--quiet", "--ff-only", made.upgraded().commit)
    commit(made.root, "Ignore", {".gitignore": ".sluice/\n"})
    return made


@pytest.fixture
def fork(made: Fork, tmp_path: Path) -> Fork:
    return made.copy(tmp_path)


@pytest.fixture(scope="module")
def packed(made: Fork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(made.template.root, tmp_path_factory.mktemp("packed"))


@pytest.fixture
def wheel(packed: Path, tmp_path: Path) -> Path:
    (tmp_path / "dist").mkdir()
    return Path(shutil.copy(packed, tmp_path / "dist"))


@pytest.fixture
def installed(fork: Fork, wheel: Path) -> Fork:
    install(fork.root, str(wheel), "")
    commit(fork.root, "Install the engine")
    return fork


def of_another(wheel: Path, folder: Path, version: str = "0.1.1", metric: str = "A = 'theirs'\n") -> Path:
    """A wheel of the same name whose bytes are others, with the file name of a version."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(folder / name_of(version), "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            target.writestr(entry, metric if entry.filename.endswith("digits.py") else content)
    return folder / name_of(version)


def name_of(version: str) -> str:
    return f"sluice_engine-{version}-py3-none-any.whl"


def make(root: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    argv = ["make", "engine", f"VENV={Path(sys.executable).parents[1]}"]
    return subprocess.run(argv, cwd=root, env=environment | variables, capture_output=True, text=True, check=False)


def state(root: Path) -> tuple[str, dict[str, bytes]]:
    files = {path.relative_to(root).as_posix(): path for path in (root / "engine").rglob("*") if path.is_file()}
    return git(root, "status", "--porcelain"), {name: path.read_bytes() for name, path in files.items()}


def test_the_wheel_holds_the_engine_and_is_the_same_bytes_again(fork: Fork, wheel: Path, tmp_path: Path) -> None:
    assert wheel.name == name_of("0.1.1")
    assert contents(wheel) == pinned(fork.template.root)
    write(fork.template.root, {METRIC: "not committed\n"})
    again = pack(fork.template.root, tmp_path / "again")
    assert again.read_bytes() == wheel.read_bytes()
    assert pack(fork.root, tmp_path / "of the project").read_bytes() == wheel.read_bytes()


def test_an_edited_or_installed_engine_is_not_packed(fork: Fork, wheel: Path, tmp_path: Path) -> None:
    install(fork.root, str(wheel), "")
    with pytest.raises(SluiceError, match="a wheel already"):
        pack(fork.root, tmp_path / "out")
    git(fork.root, "reset", "--quiet", "--hard")
    commit(fork.root, "Edit", {METRIC: "A = 'mine'\n"})
    with pytest.raises(SluiceError, match=r"digits\.py: changed"):
        pack(fork.root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_install_and_vendor_change_what_git_keeps_and_nothing_else(fork: Fork, wheel: Path) -> None:
    before, (_, files) = git(fork.root, "rev-parse", "HEAD^{tree}"), state(fork.root)
    assert "not in git any more" in install(fork.root, str(wheel), "")
    tracked = git(fork.root, "ls-files").splitlines()
    assert [path for path in tracked if path.startswith("engine/")] == []
    assert state(fork.root)[1] == files
    assert git(fork.root, "diff", "--name-only") == "", "all of it is staged"
    commit(fork.root, "Install")
    assert git(fork.root, "status", "--porcelain") == ""
    assert edits(fork.root, list_files(fork.root)) == []
    assert (make(fork.root).returncode, state(fork.root)[1]) == (0, files)
    with pytest.raises(SluiceError, match=r"0\.1\.1 installed already"):
        install(fork.root, str(wheel), "")

    assert "is in git" in vendor(fork.root)
    assert git(fork.root, "write-tree") == before, "every byte and mode"
    commit(fork.root, "Vendor")
    with pytest.raises(SluiceError, match="is in git already"):
        vendor(fork.root)


def test_a_fresh_clone_makes_its_engine(installed: Fork, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(installed.root), "clone")
    clone = tmp_path / "clone"
    assert not (clone / "engine").exists()
    with pytest.raises(SluiceError, match="make setup"):
        Workspace.find(clone)
    done = make(clone)
    assert done.returncode == 0, done.stderr
    assert state(clone)[1] == state(installed.root)[1]
    assert os.access(clone / SCRIPT, os.X_OK)
    assert edits(clone, list_files(clone)) == []
    assert Workspace.find(clone).root == clone
    (clone / "engine/FILES").unlink()
    assert make(clone).returncode == 0
    assert state(clone)[1] == state(installed.root)[1], "what is gone comes again"


def test_a_checkout_with_changes_is_left_as_it_is(fork: Fork, wheel: Path) -> None:
    write(fork.root, {METRIC: "A = 'mine'\n"})
    for stage in ("status", "add"):
        git(fork.root, stage, ".")
        before = state(fork.root)
        with pytest.raises(SluiceError):
            install(fork.root, str(wheel), "")
        assert state(fork.root) == before


class _Killed(BaseException):
    """In the place of a signal: nothing that catches errors catches it."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["install", "vendor"])
def test_killed_before_any_change_the_next_run_ends_as_an_unbroken_one(
    fork: Fork, wheel: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "vendor":
        install(fork.root, str(wheel), "")
        commit(fork.root, "Install")
    ended, files = 0, state(fork.root)[1]

    def change() -> None:
        install(fork.root, str(wheel), "") if kind == "install" else vendor(fork.root)

    change()
    wanted = git(fork.root, "write-tree")
    for number in range(10):
        git(fork.root, "reset", "--quiet", "--hard")
        if kind == "vendor":  # what is not in git any more
            unpack(fork.root)
        left = number

        def stops(original: object) -> object:
            def step(*words: object, **more: object) -> object:
                nonlocal left
                left -= words[1] not in ("status", "ls-files")  # these only look
                if left < 0:
                    raise _Killed
                return original(*words, **more)  # type: ignore[operator]

            return step

        with monkeypatch.context() as patched:
            for name in ("run", "write_atomic"):
                patched.setattr(held_engine, name, stops(getattr(held_engine, name)))
            try:
                change()
                break
            except _Killed:
                ended += 1
        assert make(fork.root).returncode == 0, "the project works"
        assert state(fork.root)[1] == files
        change()
        assert git(fork.root, "write-tree") == wanted
    assert ended == 4


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loopback: None) -> Iterator[Path]:  # noqa: ARG001
    """The folder of what pip's index has of the engine."""
    folder = tmp_path / "index" / "sluice-engine"
    folder.mkdir(parents=True)
    with served_folder(tmp_path / "index") as address:
        monkeypatch.setenv("PIP_INDEX_URL", address)
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        yield folder


def test_an_index_serves_it(fork: Fork, wheel: Path, index: Path, tmp_path: Path) -> None:
    shutil.copy(wheel, index)
    install(fork.root, "index", "")
    lock = read_lock(fork.root)
    assert lock is not None
    assert (lock.requirement, lock.version) == ("sluice-engine==0.1.1", "0.1.1")
    commit(fork.root, "Install")
    git(tmp_path, "clone", "--quiet", str(fork.root), "clone")
    assert make(tmp_path / "clone").returncode == 0
    assert state(tmp_path / "clone")[1] == state(fork.root)[1]


@pytest.mark.parametrize(
    ("attack", "by", "said"),
    [
        ("other bytes", "make", "DO NOT MATCH THE HASHES"),
        ("other bytes", "sluice", "DO NOT MATCH THE HASHES"),
        ("other version", "make", "No matching distribution found for sluice-engine==0.1.1"),
    ],
)
def test_what_an_index_serves_in_its_place_is_refused(
    fork: Fork, wheel: Path, index: Path, attack: str, by: str, said: str
) -> None:
    shutil.copy(wheel, index)
    install(fork.root, "index", "")
    commit(fork.root, "Install")
    (index / wheel.name).unlink()
    if attack == "other bytes":
        of_another(wheel, index)
    else:
        fork.template.release("0.2.0", {METRIC: "A = 2\n"})
        pack(fork.template.root, index)
    before = state(fork.root)
    (fork.root / MARKER).unlink()  # it has to be fetched again
    if by == "make":
        done = make(fork.root)
        assert done.returncode == 2
        assert said in done.stderr
        assert "error: config/engine.lock: the engine that it pins was not installed\n  -> " in done.stderr
    else:
        with pytest.raises(SluiceError, match=said) as caught:
            unpack(fork.root)
        assert caught.value.message.startswith(f"{LOCK}: ")
        assert "ask who released them" in str(caught.value.remedy)
    assert state(fork.root) == before, "what was there is there"
    with pytest.raises(SluiceError, match="not the engine that"):
        Workspace.find(fork.root)


def test_a_wheel_of_another_engine_is_not_installed(fork: Fork, wheel: Path, tmp_path: Path) -> None:
    before = state(fork.root)
    other = of_another(wheel, tmp_path / "other")
    with pytest.raises(SluiceError, match=r"1 files differ, such as engine/src/.*digits\.py"):
        install(fork.root, str(other), "")
    fork.template.release("0.2.0", {METRIC: "A = 2\n"})
    later = pack(fork.template.root, tmp_path / "later")
    with pytest.raises(SluiceError, match=r"the engine here is 0\.1\.1"):
        install(fork.root, str(later), "")
    with pytest.raises(SluiceError, match=r"not the engine of this project: 3 files differ, such as engine/FILES"):
        install(fork.root, str(shutil.copy(later, tmp_path / name_of("0.1.1"))), "")
    with pytest.raises(SluiceError, match="cannot be taken"):
        install(fork.root, str(tmp_path / "nowhere" / wheel.name), "")
    with pytest.raises(SluiceError, match="nothing says where"):
        install(fork.root, "", "")
    assert state(fork.root) == before
    assert not (fork.root / LOCK).exists()


@pytest.mark.parametrize(
    "name",
    [
        f"sluice_engine-0.1.1.data/purelib/{METRIC.replace('engine/', 'sluice_engine/', 1)}",
        f"./{METRIC.replace('engine/', 'sluice_engine/', 1)}",
        METRIC.replace("engine/", "sluice_engine/", 1),
        "sitecustomize.py",
    ],
)
def test_a_wheel_that_pip_would_unpack_to_more_is_not_installed(wheel: Path, name: str) -> None:
    """All files are there as they should be, and another one beside them that pip would put in the place of one:
    `.data/purelib` by the wheel's specification (packaging.python.org, Binary distribution format)."""
    with warnings.catch_warnings(), zipfile.ZipFile(wheel, "a") as archive:
        warnings.simplefilter("ignore")  # the same name twice
        archive.writestr(name, "A = 'theirs'\n")
    with pytest.raises(SluiceError, match=re.escape(f"{wheel.name}: holds more than an engine, {name}")):
        contents(wheel)


@pytest.mark.parametrize(
    "requirement",
    [
        "sluice-engine",
        "sluice-engine @ https://name:word@example.com/sluice_engine-0.1.1-py3-none-any.whl",
        "sluice-engine @ git+https://example.com/sluice_engine-0.1.1-py3-none-any.whl",
    ],
)
def test_a_lock_says_a_version_and_a_place_and_nothing_else(requirement: str) -> None:
    with pytest.raises(SluiceError, match="not sluice-engine==VERSION"):
        lock_of(requirement)


@pytest.mark.parametrize(
    "added", ["--extra-index-url https://example.com\n", "another==1.0 --hash=sha256:" + "0" * 64 + "\n"]
)
def test_a_lock_with_more_in_it_is_refused(tmp_path: Path, added: str) -> None:
    lock = replace(lock_of("sluice-engine==0.1.1"), sha256="0" * 64)
    write(tmp_path, {LOCK: lock.text})
    assert read_lock(tmp_path) == lock
    write(tmp_path, {LOCK: lock.text + added})
    with pytest.raises(SluiceError, match="not one line with one sha256"):
        read_lock(tmp_path)


def test_another_commit_has_its_own_engine(installed: Fork, wheel: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(installed.root), "same")
    bring(installed.root, tmp_path / "same")
    assert Workspace.find(tmp_path / "same").root == tmp_path / "same"
    assert state(tmp_path / "same")[1] == state(installed.root)[1]
    installed.template.release("0.2.0", {METRIC: "A = 2\n"})
    pack(installed.template.root, wheel.parent)
    git(installed.root, "merge", "--quiet", "--ff-only", installed.upgraded().commit)
    bring(installed.root, tmp_path / "same")
    assert (tmp_path / "same" / METRIC).read_text() == "A = 1\n"
    git(tmp_path, "clone", "--quiet", str(installed.root), "later")
    assert (installed.root / METRIC).read_text() == "A = 1\n", "here `make` has not been asked yet"
    bring(installed.root, tmp_path / "later")
    assert (tmp_path / "later" / METRIC).read_text() == "A = 2\n"
    git(tmp_path, "clone", "--quiet", str(installed.root), "again")
    shutil.rmtree(tmp_path / "later" / "engine")
    bring(tmp_path / "later", tmp_path / "again")
    assert (tmp_path / "again" / METRIC).read_text() == "A = 2\n", "there is none to copy"


def test_an_upgrade_moves_the_lock(installed: Fork, wheel: Path) -> None:
    release: dict[str, str | None] = {
        METRIC: "A = 2\n",
        "Makefile": (ROOT / "Makefile").read_text() + "# later\n",
        "engine/src/sluice/extras/upgrade/codemods/v0_2_0.py": "def apply(root):\n    pass\n",
    }
    installed.template.release("0.2.0", release)
    with pytest.raises(SluiceError, match=r"sluice_engine-0\.2\.0"):
        installed.upgrade()  # no wheel of it yet
    later = pack(installed.template.root, wheel.parent)
    kept = later.read_bytes()
    shutil.copy(of_another(later, later.parent / "other", "0.2.0"), later)
    with pytest.raises(SluiceError, match=r"not the template's 0\.2\.0: 1 files differ"):
        installed.upgrade()
    later.write_bytes(kept)
    made = installed.upgraded()
    assert (made.old, made.new) == ("0.1.1", "0.2.0")
    assert set(made.changed) == {LOCK, "Makefile"}
    assert describe(made).startswith("Template 0.1.1 → 0.2.0: config/engine.lock, 1 outside of it.")
    assert git(installed.root, "status", "--porcelain") == "", "the working tree is not touched"
    git(installed.root, "merge", "--quiet", "--ff-only", made.commit)
    with pytest.raises(SluiceError, match="not the engine that"):
        Workspace.find(installed.root)
    done = make(installed.root)
    assert done.returncode == 0, done.stderr
    assert (installed.root / METRIC).read_text() == "A = 2\n"
    assert edits(installed.root, list_files(installed.root)) == []
    assert installed.upgrade() is None


def test_init_takes_the_engine_out_of_git(fork: Fork, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fork.root)
    other = of_another(wheel, wheel.parent / "other")
    for engine, said in (("installed", "nothing says where"), (str(other), "1 files differ")):
        with pytest.raises(SluiceError, match=said):
            cli.command()(["init", "--name", "stone", "--engine", engine], standalone_mode=False)
        assert git(fork.root, "status", "--porcelain") == "", "it is known before anything is written"
    cli.command()(["init", "--name", "stone", "--engine", str(wheel)], standalone_mode=False)
    assert not git(fork.root, "ls-files", "engine")
    assert "name: stone" in (fork.root / "config/project.yaml").read_text()
    assert git(fork.root, "diff", "--name-only") == ""
    commit(fork.root, "Names")
    write(fork.root, {"a note.md": "mine\n"})
    for more in (["--dry-run"], []):
        assert not git(fork.root, "ls-files", "engine")
        cli.command()(["init", "--engine", "vendored", *more], standalone_mode=False)
    assert git(fork.root, "ls-files", "--others", "--exclude-standard") == "a note.md"
    assert git(fork.root, "ls-files", "engine").splitlines() == sorted(pinned(fork.root))
