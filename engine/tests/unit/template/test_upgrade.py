"""Later versions of the template, merged into forks: real repositories, a real push, and a fake GitHub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice import cli
from sluice.core.errors import SluiceError
from sluice.template.init import apply, plan
from sluice.template.names import Names, load_record
from sluice.template.upgrade import BRANCH, Upgrade, address_of, describe, prepare, push
from unit.github.fake_github import REPOSITORY, WRITER, fake_github
from unit.github.fake_repository import FakeRepository
from unit.template.conftest import commit, git, make_template

OLD = "wei" + "r"


class Fork:
    """A template, a repository made from its first version, and the server that both push to."""

    def __init__(self, folder: Path) -> None:
        self.template = make_template(folder / "template")
        self.server = folder / "server.git"
        self.root = folder / "fork"
        git(folder, "init", "--quiet", "--bare", "--initial-branch", "main", str(self.server))
        git(folder, "clone", "--quiet", "--no-tags", str(self.template), str(self.root))
        git(self.root, "remote", "set-url", "origin", str(self.server))
        git(self.root, "push", "--quiet", "origin", "main")

    def rename(self, **names: object) -> None:
        record = load_record(self.root)
        wanted = Names.model_validate({**dict(record.names), **names})
        apply(self.root, plan(self.root, record, wanted, starter_data=True))
        git(self.root, "commit", "--quiet", "--message", "Names")

    def release(self, version: str, **files: str | None) -> None:
        record = (self.template / ".template.yaml").read_text()
        head, _, tail = record.partition("version: ")
        files[".template.yaml"] = f"{head}version: {version}\n{tail.partition(chr(10))[2]}"
        commit(self.template, f"Release {version}", **files)
        git(self.template, "tag", f"v{version}")

    def upgrade(self, to: str = "") -> Upgrade | None:
        return prepare(self.root, load_record(self.root), str(self.template), to)

    def file(self, commit: str, path: str) -> str:
        return git(self.root, "show", f"{commit}:{path}")


@pytest.fixture
def fork(tmp_path: Path) -> Fork:
    return Fork(tmp_path)


def lines(first: int, last: int, **changed: str) -> str:
    return "".join(f"{changed.get(f'l{number}', f'line {number}')}\n" for number in range(first, last + 1))


def test_both_sides_changes_arrive(fork: Fork) -> None:
    fork.release("0.2.0", **{"notes.md": lines(1, 20, l2="theirs"), "new.md": "new\n", "CHANGELOG.md": None})
    commit(fork.root, "Ours", **{"notes.md": lines(1, 20, l19="ours"), "own.md": "own\n"})
    head = git(fork.root, "rev-parse", "HEAD")
    made = fork.upgrade()
    assert made is not None
    assert (made.old, made.new, made.conflicts) == ("0.1.0", "0.2.0", [])
    assert fork.file(made.commit, "notes.md") == lines(1, 20, l2="theirs", l19="ours").rstrip("\n")
    there = git(fork.root, "ls-tree", "-r", "--name-only", made.commit).splitlines()
    assert {"new.md", "own.md"} <= set(there)
    assert "CHANGELOG.md" not in there
    assert made.changed == [".template.yaml", "CHANGELOG.md", "new.md", "notes.md"]
    assert git(fork.root, "rev-parse", f"{made.commit}^") == head
    assert git(fork.root, "status", "--porcelain") == "", "the working tree is not touched"
    assert "version: 0.2.0" in fork.file(made.commit, ".template.yaml")


def test_a_fork_with_names_of_its_own_gets_the_changes_under_them(fork: Fork) -> None:
    fork.rename(name="zephyr-desk", environments=["uat", "actual"])
    core = f'LONG = "short"\n\n\ndef more() -> str:\n    return "{OLD}"\n'
    fork.release(
        "0.2.0",
        **{
            f"src__{OLD}__core.py": core,
            f"src__{OLD}__fresh.py": f"from {OLD}.core import more\n\nprint(more())\n",
            "k8s__overlays__trial__kustomization.yaml": f"namespace: {OLD}-trial\nreplicas: []\n",
        },
    )
    made = fork.upgrade()
    assert made is not None
    assert made.conflicts == []
    assert 'return "zephyr-desk"' in fork.file(made.commit, "src/zephyr_desk/core.py")
    assert fork.file(made.commit, "src/zephyr_desk/fresh.py").startswith("from zephyr_desk.core import more")
    assert fork.file(made.commit, "k8s/overlays/uat/kustomization.yaml").splitlines()[1] == "replicas: []"
    there = git(fork.root, "ls-tree", "-r", "--name-only", made.commit)
    assert f"src/{OLD}" not in there
    assert "overlays/trial" not in there


def test_a_conflict_is_marked_and_listed_and_loses_nothing(fork: Fork) -> None:
    fork.release("0.2.0", **{"notes.md": lines(1, 20, l10="theirs", l18="theirs too"), "README.md": "other\n"})
    commit(fork.root, "Ours", **{"notes.md": lines(1, 20, l10="ours"), "README.md": None})
    made = fork.upgrade()
    assert made is not None
    assert len(made.conflicts) == 2
    merged = fork.file(made.commit, "notes.md").splitlines()
    start, end = merged.index("<<<<<<< HEAD"), merged.index(">>>>>>> refs/template/0.2.0")
    assert merged[start + 1 : end] == ["ours", "=======", "theirs"]
    assert "theirs too" in merged
    assert fork.file(made.commit, "README.md") == "other", "what one side removed and the other changed is kept"
    text = describe(made)
    assert "**2 conflicts.**" in text
    assert "notes.md" in text
    assert "README.md" in text


def test_the_same_upgrade_is_the_same_commit(fork: Fork) -> None:
    fork.release("0.2.0", **{"new.md": "new\n"})
    first, second = fork.upgrade(), fork.upgrade()
    assert first == second


def test_once_merged_there_is_nothing_to_do_and_the_next_starts_from_there(fork: Fork) -> None:
    assert fork.upgrade() is None
    fork.release("0.2.0", **{"notes.md": lines(1, 20, l2="second")})
    made = fork.upgrade()
    assert made is not None
    git(fork.root, "merge", "--quiet", "--ff-only", made.commit)
    assert fork.upgrade() is None
    commit(fork.root, "Ours", **{"notes.md": lines(1, 20, l2="ours now")})
    fork.release("0.10.0", **{"more.md": "more\n"})
    made = fork.upgrade()
    assert made is not None
    assert (made.old, made.new, made.conflicts) == ("0.2.0", "0.10.0", []), "0.10 comes after 0.2"
    assert fork.file(made.commit, "notes.md").splitlines()[1] == "ours now"


def test_a_version_by_name(fork: Fork) -> None:
    fork.release("0.2.0", **{"a.md": "a\n"})
    fork.release("0.3.0", **{"b.md": "b\n"})
    git(fork.template, "tag", "v1.0.0-rc1")
    assert (made := fork.upgrade("v0.2.0")) is not None
    assert made.new == "0.2.0"
    assert (made := fork.upgrade()) is not None
    assert made.new == "0.3.0"
    with pytest.raises(SluiceError, match=r"no version 9\.9\.9(.|\n)*0\.1\.0, 0\.2\.0, 0\.3\.0"):
        fork.upgrade("9.9.9")
    with pytest.raises(SluiceError, match="check the address of the template"):
        prepare(fork.root, load_record(fork.root), str(fork.root / "nowhere"))


def test_dropped_starter_data_do_not_come_back(fork: Fork) -> None:
    record = load_record(fork.root)
    apply(fork.root, plan(fork.root, record, record.names, starter_data=False))
    git(fork.root, "commit", "--quiet", "--message", "Own data")
    fork.release("0.2.0", **{"dvc-store__files__ab": "changed\n", "dvc-store__files__cd": "new\n"})
    made = fork.upgrade()
    assert made is not None
    assert made.conflicts == []
    assert "dvc-store" not in git(fork.root, "ls-tree", "-r", "--name-only", made.commit)


def test_the_branch_is_pushed_once_and_what_a_person_added_stays(fork: Fork) -> None:
    fork.release("0.2.0", **{"new.md": "new\n"})
    made = fork.upgrade()
    assert made is not None
    assert push(fork.root, made, {}) == "branch pushed"
    assert push(fork.root, made, {}) == "branch unchanged"
    commit(fork.root, "Ours", **{"own.md": "own\n"})
    anew = fork.upgrade()
    assert anew is not None
    assert push(fork.root, anew, {"GITHUB_TOKEN": WRITER}) == "branch pushed anew"
    assert git(fork.server, "rev-parse", BRANCH) == anew.commit
    assert WRITER not in (fork.root / ".git" / "config").read_text()
    git(fork.root, "switch", "--quiet", "--create", "resolving", anew.commit)
    mine = commit(fork.root, "Resolve", **{"new.md": "resolved\n"})
    git(fork.root, "push", "--quiet", "origin", f"{mine}:{BRANCH}")
    assert "left alone" in push(fork.root, made, {})
    assert git(fork.server, "rev-parse", BRANCH) == mine


def test_owner_and_name_mean_github() -> None:
    assert address_of("makers/template") == "https://github.com/makers/template.git"
    for address in ("https://git.example.org/t.git", "git@git.example.org:o/t.git", "/srv/t"):
        assert address_of(address) == address


@pytest.fixture
def there(loopback: None) -> Iterator[FakeRepository]:  # noqa: ARG001 - opens the network to this machine
    with fake_github(FakeRepository()) as fake:
        assert isinstance(fake, FakeRepository)
        yield fake


def test_published_there_is_one_pull_request(
    fork: Fork,
    there: FakeRepository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command, as the workflow calls it, week after week."""
    for name, value in {
        "GITHUB_API_URL": there.url,
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_TOKEN": WRITER,
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(fork.root)
    there.facts[""]["template_repository"] = {"full_name": "makers/template"}
    monkeypatch.setattr("sluice.template.upgrade.SERVER", str(fork.template.parent))  # owner/name below this
    (fork.template.parent / "makers").mkdir()
    (fork.template.parent / "makers" / "template.git").symlink_to(fork.template)

    def upgrade() -> str:
        cli.app(["upgrade", "--publish", "--to", ""], standalone_mode=False)
        return capsys.readouterr().out

    assert "there is nothing newer" in upgrade()
    assert there.pulls == []
    fork.release("0.2.0", **{"new.md": "new\n"})
    assert "branch pushed\npull request opened: " in upgrade()
    assert "branch unchanged\npull request unchanged: " in upgrade()
    fork.release("0.3.0", **{"notes.md": lines(1, 20, l10="theirs")})
    commit(fork.root, "Ours", **{"notes.md": lines(1, 20, l10="ours")})
    assert "branch pushed anew\npull request updated: " in upgrade()
    (pull,) = there.pulls
    assert (pull["title"], pull["head"], pull["base"]) == ("Template 0.3.0", BRANCH, "main")
    assert "**1 conflict.**" in pull["body"]
    assert pull["body"] in (tmp_path / "summary.md").read_text()
    pull["state"] = "closed"
    git(fork.server, "update-ref", "-d", f"refs/heads/{BRANCH}")
    assert "closed by a person, not opened again" in upgrade()
    assert (len(there.pulls), git(fork.server, "branch", "--list", BRANCH)) == (1, "")
