import subprocess
from pathlib import Path
from typing import Any

import pytest

from sluice import cli
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.git import run
from sluice.extras.pull_requests.branch_pull_request import APPROVAL
from sluice.extras.upgrade import upgrade_engine
from sluice.extras.upgrade.upgrade_engine import BRANCH, describe, prepare
from sluice.template.owned import OWNED, edits, list_files
from support.git import git
from unit.extras.upgrade.conftest import Fork
from unit.github.fake_github import WRITER, actions_environment
from unit.github.fake_repository import FakeRepository
from unit.template.conftest import blobs, commit, lines

METRIC = "engine/src/sluice/evaluation/metrics/digits.py"
CI = ".github/workflows/ci.yml"
CODEMODS = "engine/src/sluice/extras/upgrade/codemods"


@pytest.fixture
def fork(small_fork: Fork, tmp_path: Path) -> Fork:
    return small_fork.copy(tmp_path)


def test_the_engine_is_replaced_and_nothing_else_is_touched(fork: Fork) -> None:
    own: dict[str, str | None] = {
        "prompts/one.prompt.yml": "name: one, ours\n",
        "config/gates.yaml": "gates: [ours]\n",
        "src/assistant/metrics/own.py": "M = 1\n",
        ".github/workflows/own.yml": "name: own\n",
        "k8s/overlays/actual/kustomization.yaml": "namespace: ours\n",
        "README.md": None,
    }
    head = commit(fork.root, "Ours", own)
    fork.template.release(
        "0.2.0",
        {
            METRIC: "A = 2\n",
            "engine/src/sluice/new.py": "N = 1\n",
            "engine/k8s/base/service.yaml": None,
            CI: lines(1, 20, l2="theirs"),
            ".github/workflows/new.yml": "name: new\n",
            "Makefile": None,
            "prompts/one.prompt.yml": "name: one, theirs\n",
            "config/gates.yaml": "gates: [theirs]\n",
            "README.md": "# Theirs\n",
        },
    )
    made = fork.upgraded()
    assert (made.old, made.new) == ("0.1.0", "0.2.0")
    before, after = fork.files(head), fork.files(made.commit)
    theirs = blobs(fork.template.root, "v0.2.0")
    engine = {path for path in theirs if path.startswith("engine/")}
    assert {path: after.get(path) for path in engine} == {path: theirs[path] for path in engine}
    assert "engine/k8s/base/service.yaml" not in after
    assert "Makefile" not in after
    assert after[".github/workflows/new.yml"] == theirs[".github/workflows/new.yml"]
    yours = set(before) - engine - {"engine/k8s/base/service.yaml", "Makefile", CI}
    assert {path: after.get(path) for path in yours} == {path: before[path] for path in yours}, "not a byte"
    assert set(after) - set(before) == {"engine/src/sluice/new.py", ".github/workflows/new.yml"}
    assert git(fork.root, "rev-parse", f"{made.commit}^") == head
    assert git(fork.root, "status", "--porcelain") == "", "the working tree is not touched"
    assert "No file of the project was changed." in describe(made)


def test_afterwards_the_check_passes_and_there_is_nothing_to_do(fork: Fork) -> None:
    fork.template.release("0.2.0", {METRIC: "A = 2\n"})
    git(fork.root, "merge", "--quiet", "--ff-only", fork.upgraded().commit)
    assert edits(fork.root, list_files(fork.root)) == []
    assert fork.upgrade() is None
    fork.template.release("0.10.0", {METRIC: "A = 3\n"})
    made = fork.upgraded()
    assert (made.old, made.new) == ("0.2.0", "0.10.0"), "0.10 comes after 0.2"


def test_a_version_by_name(fork: Fork) -> None:
    fork.template.release("0.2.0")
    fork.template.release("0.3.0")
    git(fork.template.root, "tag", "v1.0.0-rc1")
    assert fork.upgraded("v0.2.0").new == "0.2.0"
    assert fork.upgraded().new == "0.3.0"
    with pytest.raises(SluiceError, match=r"no version 9\.9\.9(.|\n)*0\.1\.0, 0\.2\.0, 0\.3\.0"):
        fork.upgrade("9.9.9")
    with pytest.raises(SluiceError, match="check the address of the template"):
        prepare(fork.root, str(fork.root / "nowhere"))
    git(fork.template.root, "tag", "v0.4.0")
    with pytest.raises(SluiceError, match=r"the tag v0\.4\.0 holds the engine 0\.3\.0"):
        fork.upgrade()


def test_an_edited_engine_file_is_named_with_what_to_use_and_given_up_only_when_told(fork: Fork) -> None:
    commit(fork.root, "Edit", {METRIC: "A = 'mine'\n", "engine/src/sluice/mine.py": ""})
    fork.template.release("0.2.0", {METRIC: "A = 2\n"})
    before = git(fork.root, "for-each-ref")
    with pytest.raises(ValidationErrors) as caught:
        fork.upgrade()
    assert caught.value.faults == [
        f"{METRIC}: changed; write a metric in src/assistant/metrics/ with @metric",
        "engine/src/sluice/mine.py: added; propose the change to the template: an upgrade brings it here",
    ]
    assert git(fork.root, "for-each-ref") == before
    made = fork.upgraded(discard=True)
    assert fork.file(made.commit, METRIC) == "A = 2"
    assert "engine/src/sluice/mine.py" not in fork.files(made.commit)


def test_an_owned_file_that_both_sides_edited_is_merged_where_that_is_clean(fork: Fork) -> None:
    commit(fork.root, "Edit", {CI: lines(1, 20, l19="ours")})
    fork.template.release("0.2.0", {CI: lines(1, 20, l2="theirs")})
    made = fork.upgraded()
    assert fork.file(made.commit, CI) == lines(1, 20, l2="theirs", l19="ours").rstrip("\n")
    assert made.merged == [CI]
    assert f"- `{CI}`" in describe(made)
    commit(fork.root, "Edit", {"Makefile": "ours:\n"})
    made = fork.upgraded()
    assert (fork.file(made.commit, "Makefile"), made.merged) == ("ours:", [CI]), "the template left it alone"


def test_an_owned_file_that_cannot_be_merged_is_refused_unless_it_is_adopted(fork: Fork) -> None:
    commit(fork.root, "Edit", {CI: lines(1, 20, l2="ours"), "Makefile": None})
    fork.template.release("0.2.0", {CI: lines(1, 20, l2="theirs"), "Makefile": "more:\n"})
    with pytest.raises(ValidationErrors) as caught:
        fork.upgrade()
    assert [fault.partition(";")[0] for fault in caught.value.faults] == [f"{CI}: changed", "Makefile: removed"]
    assert fork.file(fork.upgraded(discard=True).commit, "Makefile") == "more:"
    project = (fork.root / "config/project.yaml").read_text()
    commit(fork.root, "Adopt", {"config/project.yaml": f"{project}adopted: [{CI}, Makefile]\n"})
    made = fork.upgraded()
    assert fork.file(made.commit, CI) == lines(1, 20, l2="ours").rstrip("\n")
    assert "Makefile" not in fork.files(made.commit)
    assert made.kept == [CI, "Makefile"]
    assert "left as they are" in describe(made)


def test_a_new_owned_file_never_takes_the_place_of_one_s_own(fork: Fork) -> None:
    commit(fork.root, "Ours", {".github/workflows/scan.yml": "name: ours\n"})
    fork.template.release("0.2.0", {".github/workflows/scan.yml": "name: theirs\n"})
    with pytest.raises(ValidationErrors, match=r"scan\.yml: the template has a file of this name now"):
        fork.upgrade()


def test_a_file_that_is_no_longer_the_engine_s_stays_as_it_is(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(fork.root, "Edit", {"Makefile": "ours:\n"})
    monkeypatch.setattr("sluice.template.owned._REASONS", (("GitHub", (".github/workflows/*",)),))
    fork.template.release("0.2.0", {"Makefile": "theirs:\n"})
    made = fork.upgraded()
    assert fork.file(made.commit, "Makefile") == "ours:"
    assert "Makefile" not in fork.file(made.commit, OWNED)


RENAME = """\
def apply(root):
    path = root / "config/gates.yaml"
    text = path.read_text()
    path.write_text(text.replace("{old}", "{new}"))
"""


def test_codemods_of_the_versions_in_between_run_in_order(fork: Fork) -> None:
    commit(fork.root, "Ours", {"config/gates.yaml": "gates: [one]\n"})
    fork.template.release("0.2.0", {f"{CODEMODS}/v0_2_0.py": RENAME.format(old="one", new="two")})
    fork.template.release("0.10.0", {f"{CODEMODS}/v0_10_0.py": RENAME.format(old="two", new="ten")})
    later = {f"{CODEMODS}/v0_11_0.py": "raise SystemExit(1)\n", f"{CODEMODS}/v0_1_0.py": "raise SystemExit(1)\n"}
    fork.template.release("0.10.1", {**later})
    made = fork.upgraded()
    assert fork.file(made.commit, "config/gates.yaml") == "gates: [ten]"
    assert made.codemods == {"0.2.0": ["config/gates.yaml"], "0.10.0": ["config/gates.yaml"]}
    assert "- 0.10.0: `config/gates.yaml`" in describe(made)
    assert not [path for path in fork.files(made.commit) if "__pycache__" in path]


def test_a_codemod_sees_no_token(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", WRITER)
    body = "    (root / 'seen').write_text(str(sorted(os.environ)))\n"
    fork.template.release("0.2.0", {f"{CODEMODS}/v0_2_0.py": f"import os\ndef apply(root):\n{body}"})
    assert "TOKEN" not in fork.file(fork.upgraded().commit, "seen")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def apply(root):\n    raise ValueError('no key')\n", "codemod v0_2_0: ValueError: no key"),
        ("apply = 1\n", "codemod v0_2_0: TypeError"),
        ("def apply(root):\n    (root / 'Makefile').unlink()\n", "Makefile is the engine's"),
    ],
)
def test_a_codemod_that_fails_or_changes_the_engine_stops_the_upgrade(fork: Fork, code: str, said: str) -> None:
    fork.template.release("0.2.0", {f"{CODEMODS}/v0_2_0.py": code})
    before = git(fork.root, "for-each-ref")
    with pytest.raises(SluiceError, match=said):
        fork.upgrade()
    assert git(fork.root, "for-each-ref") == before


def test_published_there_is_one_pull_request(
    fork: Fork,
    there: FakeRepository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary = tmp_path / "summary.md"
    for name, value in (actions_environment(there, tmp_path) | {"GITHUB_STEP_SUMMARY": str(summary)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(fork.root)
    there.facts[""]["template_repository"] = {"full_name": "makers/template"}
    # owner/name is below this
    monkeypatch.setattr("sluice.extras.upgrade.versions.SERVER", str(fork.template.root.parent))
    (fork.template.root.parent / "makers").mkdir()
    (fork.template.root.parent / "makers" / "template.git").symlink_to(fork.template.root)

    def upgrade() -> str:
        cli.command()(["upgrade", "--publish", "--to", ""], standalone_mode=False)
        return capsys.readouterr().out

    assert "the newest version" in upgrade()
    assert there.pulls == []
    fork.template.release("0.2.0", {METRIC: "A = 2\n"})
    assert "branch pushed\npull request opened: " in upgrade()
    assert "branch unchanged\npull request unchanged: " in upgrade()
    assert WRITER not in (fork.root / ".git" / "config").read_text()
    commit(fork.root, "Edit", {CI: lines(1, 20, l19="ours")})
    fork.template.release("0.3.0", {CI: lines(1, 20, l2="theirs")})
    assert "branch pushed anew\npull request updated: " in upgrade()
    (pull,) = there.pulls
    assert (pull["title"], pull["head"], pull["base"]) == ("Template 0.3.0", BRANCH, "main")
    assert f"merged:\n\n- `{CI}`" in pull["body"]
    assert pull["body"].removesuffix(APPROVAL) in summary.read_text()
    pull["state"] = "closed"
    git(fork.server, "update-ref", "-d", f"refs/heads/{BRANCH}")
    assert "closed by a person, not opened again" in upgrade()
    assert (len(there.pulls), git(fork.server, "branch", "--list", BRANCH)) == (1, "")


def test_by_hand_the_branch_is_made_and_nothing_else_of_the_repository_changes(
    fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork.template.release("0.2.0", {METRIC: "A = 2\n"})
    monkeypatch.chdir(fork.root)
    before = git(fork.root, "for-each-ref")
    cli.command()(["upgrade", "--from", str(fork.template.root)], standalone_mode=False)
    after = git(fork.root, "for-each-ref").splitlines()
    assert [line.split("\t")[1] for line in set(after) - set(before.splitlines())] == [f"refs/heads/{BRANCH}"]
    assert subprocess.run(["git", "-C", fork.root, "fsck", "--strict"], capture_output=True).returncode == 0


def test_killed_when_all_is_assembled_it_leaves_the_project_as_it_was(
    fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork.template.release("0.2.0", {f"{CODEMODS}/v0_2_0.py": RENAME.format(old="[]", new="[fixed]")})
    before = git(fork.root, "for-each-ref")

    def killed(*words: Any, **more: Any) -> str:
        if words[1] == "write-tree":
            raise KeyboardInterrupt
        return run(*words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(upgrade_engine, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            fork.upgrade()
    assert git(fork.root, "for-each-ref") == before
    assert git(fork.root, "status", "--porcelain") == ""
    assert "fixed" in fork.file(fork.upgraded().commit, "config/gates.yaml")
