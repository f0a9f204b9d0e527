import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import boto3
import pytest
import yaml

from sluice.cluster.manifests import parse, pods, render
from sluice.core.errors import SluiceError
from sluice.core.project import load_project
from sluice.core.workspace import Workspace
from sluice.extras.upgrade.init_project import InitPlan, apply, plan, require_clean
from sluice.release import starter
from sluice.template.owned import TEMPLATE_FILES, list_files
from starter_files import copy_starter
from support.aws.moto_server import aws_server, make_stack
from support.aws.role_policies import lets_in
from support.git import git
from unit.template.conftest import ROOT, Template, call, commit, edit, run, write

NEW = {"name": "zephyr-desk", "organisation": "acme-labs", "image": "ghcr.io/acme-labs/zephyr-desk"}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return Template(tmp_path / "small").root


def planned(root: Path, *, starter_data: bool = True, **changes: object) -> InitPlan:
    project = load_project(root / "config").model_copy(update=changes)
    return plan(root, project, starter_data=starter_data)


def test_a_plan_writes_nothing_and_touches_no_engine(small: Path) -> None:
    found = {change.old: change.new for change in planned(small, **NEW, environments=("uat", "actual")).changes}
    assert found == {
        "config/project.yaml": "config/project.yaml",
        ".github/CODEOWNERS": ".github/CODEOWNERS",
        "k8s/overlays/actual/kustomization.yaml": "k8s/overlays/actual/kustomization.yaml",
        "k8s/overlays/local/kustomization.yaml": "k8s/overlays/local/kustomization.yaml",
        "k8s/overlays/trial/kustomization.yaml": "k8s/overlays/uat/kustomization.yaml",
    }
    assert git(small, "status", "--porcelain") == ""


def test_names_are_written_staged_and_undone_by_git(small: Path) -> None:
    before = git(small, "write-tree")
    apply(small, planned(small, **NEW, environments=("uat", "actual")))
    overlay = yaml.safe_load((small / "k8s/overlays/uat/kustomization.yaml").read_text())
    assert overlay["namespace"] == "zephyr-desk-uat"
    assert overlay["labels"] == [{"pairs": {"project": "zephyr-desk"}}]
    assert [image["newName"] for image in overlay["images"]] == [NEW["image"], f"{NEW['image']}-load"]
    assert overlay["configMapGenerator"][0]["literals"] == ["artefacts=s3://zephyr-desk-artefacts-uat"]
    assert "Host(`zephyr-desk.uat.example.com`)" in overlay["patches"][0]["patch"]
    assert not (small / "k8s/overlays/trial").exists()
    assert "@acme-labs/prompts" in (small / ".github/CODEOWNERS").read_text()
    assert "name: zephyr-desk              # label" in (small / "config/project.yaml").read_text()
    assert git(small, "diff", "--name-only") == git(small, "ls-files", "--others") == ""
    git(small, "reset", "--quiet", "--hard")
    assert git(small, "write-tree") == before
    assert git(small, "status", "--porcelain", "--ignored") == ""


def test_a_second_time_changes_nothing_and_other_names_later_are_no_different(small: Path) -> None:
    before, old = git(small, "rev-parse", "HEAD^{tree}"), load_project(small / "config")
    apply(small, planned(small, **NEW))
    git(small, "commit", "--quiet", "--message", "Names")
    assert planned(small, **NEW).empty
    assert planned(small).empty
    apply(small, plan(small, old, starter_data=True))
    assert git(small, "diff", "--cached", "--name-only", before) == ""


@pytest.mark.usefixtures("loopback")
def test_the_serving_role_of_a_renamed_project_is_for_its_pods_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_starter(tmp_path, "k8s", "config")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "Begin")
    apply(tmp_path, planned(tmp_path, **NEW))
    components = tmp_path / "engine" / "k8s" / "components"
    own = {path.parent.name for path in components.glob("*/*.yaml") if "serviceAccountName: " in path.read_text()}
    assert own == {"database", "llm-vllm"}
    asking = set()  # pods that read releases: the base's, and those of each component
    for overlay, component in product(("staging", "production"), own):
        file = tmp_path / "k8s" / "overlays" / overlay / "kustomization.yaml"
        spec = yaml.safe_load(file.read_text()) | {"components": [f"../../../engine/k8s/components/{component}"]}
        file.write_text(yaml.safe_dump(spec))
        for one in parse(render(file.parent)):
            reading = [pod for pod in pods(one) if "SLUICE_ARTEFACTS" in str(pod)]
            asking |= {("blue", one["metadata"]["namespace"], pod["serviceAccountName"]) for pod in reading}
    with aws_server(monkeypatch, region="eu-west-1"):
        given = {"Name": NEW["name"], "Repository": "o/r", "OwnerId": "1", "RepositoryId": "2", "Cluster": "blue"}
        make_stack(ROOT / "engine" / "aws" / "bootstrap.yaml", **given)
        role = boto3.client("iam").get_role(RoleName="zephyr-desk-serving")["Role"]
    (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
    tags = ("blue", "green"), ("zephyr-desk-staging", "zephyr-desk-production", "sluice-production"), ("sluice", "vllm")
    assert asking == {pod for pod in product(*tags) if lets_in(trusted, {}, pod)} != set()
    assert not lets_in(trusted, {}, ("blue", "zephyr-desk-production", "default"))


def test_what_a_person_wrote_in_an_overlay_stays(small: Path) -> None:
    path = small / "k8s/overlays/actual/kustomization.yaml"
    text = path.read_text().replace("quarry.actual.example.com", "ask.acme.test")
    text = text.replace("newName: ghcr.io/example/quarry\n", "newName: registry.acme.test/quarry\n")
    commit(small, "Ours", {"k8s/overlays/actual/kustomization.yaml": text + "# newName: ghcr.io/example/quarry-two\n"})
    apply(small, planned(small, **NEW))
    now = path.read_text()
    assert "Host(`ask.acme.test`)" in now
    assert "newName: registry.acme.test/quarry\n" in now
    assert "ghcr.io/example/quarry-two" in now, "a longer name is another name"
    assert "namespace: zephyr-desk-actual" in now


def test_an_overlay_that_is_there_or_missing_is_said_before_anything_is_written(small: Path) -> None:
    with pytest.raises(SluiceError, match=r"overlays/local: there is an overlay of that name"):
        planned(small, environments=("local", "actual"))
    commit(small, "Gone", {"k8s/overlays/trial/kustomization.yaml": None})
    with pytest.raises(SluiceError, match=r"overlays/trial: no such overlay"):
        planned(small, **NEW)


def test_starter_data_go_and_data_of_one_s_own_stay(small: Path) -> None:
    gone = planned(small, starter_data=False)
    assert gone.removed == ["data.dvc", "dvc-store/files/ab"]
    apply(small, gone)
    assert not (small / "dvc-store").exists()
    git(small, "commit", "--quiet", "--message", "Own data")
    commit(small, "Own data", {"data.dvc": "outs: [mine]\n"})
    assert planned(small, starter_data=False).empty, "what is there now is not the starter data"


@pytest.mark.real
def test_without_the_starter_data_its_model_and_the_rows_of_the_guard_stay(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(ROOT), str(clone))
    gone = planned(clone, starter_data=False)
    write(clone, {"data/README.md": gone.data["README.md"].read_text()})  # as `make try` leaves it
    apply(clone, gone)
    assert "data.dvc" in gone.removed
    assert any(path.startswith("dvc-store/") for path in gone.removed)
    assert sorted(path.name for path in (clone / "data").iterdir()) == ["guard"]
    assert all(starter.take(Workspace(clone), stage, to_try=True) for stage in starter.FILES)
    git(clone, "commit", "--quiet", "--message", "Own data")
    commit(clone, "Own data", {"data.dvc": "outs:\n- md5: 0123.dir\n  path: data\n"})
    assert "data.dvc" not in planned(clone, starter_data=False).removed, "what is there now is not the starter data"


@pytest.mark.real
def test_no_word_of_the_starter_is_left_in_a_project_with_data_of_its_own(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(ROOT), str(clone))
    data = planned(clone, starter_data=False).data
    rows = "".join(data[name].read_text() for name in ("train.jsonl", "eval.jsonl")).splitlines()
    asked = [one["question"].lower() for one in map(json.loads, rows) if one["doc_ids"]]
    words = {"handbook", *(question for question in asked if question.count(" ") > 2)}
    done = call(clone, "init", "--name", "docs-helper", "--about", "the docs of Z", "--without-starter-data")
    assert done.returncode == 0, done.stderr
    texts = [path for path in list_files(clone) if not path.startswith(("engine/", "dvc-store/", "docs/images/"))]
    said = {path: (clone / path).read_text().lower() for path in texts}
    assert [(path, word) for path, text in said.items() for word in words if word in text] == []
    service = yaml.safe_load((clone / "config/service.yaml").read_text())
    assert (service["page"]["name"], service["page"]["examples"]) == ("docs-helper", [])
    assert service["small_model"]["quotes"] is True, "the starter's model was trained on other documents"
    index = yaml.safe_load((clone / "pipelines/params.yaml").read_text())["index"]
    assert index["chunker"]["name"] == "structure"
    assert all("assistant of the docs of z." in said[f"prompts/{name}.prompt.yml"] for name in ("answer", "finetune"))
    assert call(clone, "prompts", "check").returncode == 0


@pytest.mark.parametrize("file", ["prompts/one.prompt.yml", "engine/new.py"])
def test_what_git_could_not_bring_back_is_not_touched(small: Path, file: str) -> None:
    (small / file).write_text("precious")
    with pytest.raises(SluiceError, match=file) as caught:
        require_clean(small)
    assert "git reset --hard" in caught.value.remedy


def test_an_untracked_file_stands_in_the_way_only_where_init_writes(small: Path) -> None:
    write(small, {"pipelines/dvc.lock": "schema: '2.0'\n", "a note.md": "mine\n"})
    require_clean(small)
    with pytest.raises(SluiceError, match=r"dvc\.lock"):
        require_clean(small, ["pipelines/dvc.lock"])
    apply(small, planned(small, **NEW))
    assert git(small, "ls-files", "--others").splitlines() == ["a note.md", "pipelines/dvc.lock"]
    git(small, "reset", "--quiet", "--hard")
    assert (small / "pipelines/dvc.lock").read_text() == "schema: '2.0'\n"
    write(small, {"k8s/overlays/uat/kustomization.yaml": "mine\n"})
    with pytest.raises(SluiceError, match=r"uat/kustomization\.yaml: git does not have this file"):
        planned(small, environments=("uat", "actual"))


WORDS = ("--name", "zephyr-desk", "--organisation", "acme-labs", "--region", "ap-south-2")
WORDS += ("--environments", "uat,live", "--engine", "vendored")
# What a project's names could break: its own files, and the rules that look at them.
TESTS = (
    "engine/tests/unit/core/test_project.py",
    "engine/tests/unit/cluster/test_release_overlay.py",
    "engine/tests/unit/test_cli.py",
    "engine/tests/unit/extras/doctor",
    "engine/tests/contract/test_analysis.py",
    "engine/tests/house/test_pages.py",
    "engine/tests/house/test_make.py",
    "engine/tests/contract/test_manifests.py",
    "engine/tests/unit/cluster/test_manifests.py",
    "engine/tests/contract/test_project_files.py",
    "engine/tests/contract/test_rollout_file.py",
    "engine/tests/contract/test_workflows.py",
)


UNTRACKED = ["notes.md", "pipelines/dvc.lock"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's last commit under other names, committed."""
    folder = tmp_path_factory.mktemp("project") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    write(folder, {"pipelines/dvc.lock": "schema: '2.0'\n", "notes.md": "mine\n"})  # as `make release` and people leave
    would = call(folder, "init", *WORDS, "--dry-run").stdout
    done = call(folder, "init", *WORDS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(would.removesuffix(", if it were not a dry run\n"))
    assert "staged, not committed" in done.stdout
    return folder


@pytest.mark.real
def test_in_a_clone_thirteen_files_change_and_none_of_the_engine(clone: Path) -> None:
    refused = call(clone, "init", "--name", "other-desk")
    assert (refused.returncode, "git reset --hard" in refused.stderr) == (1, True), "what is staged is not lost"
    assert "if it were not a dry run" in call(clone, "init", "--name", "other-desk", "--dry-run").stdout
    changed = set(git(clone, "diff", "--cached", "--name-only", "--no-renames", "HEAD").splitlines())
    assert set(TEMPLATE_FILES) <= changed
    assert len(changed) <= 13, changed
    limited = yaml.safe_load((clone / "config/sagemaker.yaml").read_text())
    assert (limited["pipeline"], limited["model_package_group"]) == ("zephyr-desk-train", "zephyr-desk-adapter")
    assert not [path for path in changed if path.startswith(("engine/", "src/", "prompts/"))]
    assert call(clone, "engine", "check").returncode == 0
    assert git(clone, "ls-files", "--others", "--exclude-standard").splitlines() == UNTRACKED
    assert load_project(clone / "config").without == ("engine_tests",)
    assert "off  tests the engine" in call(clone, "extras").stdout


@pytest.mark.fork
@pytest.mark.timeout(3600)
def test_a_project_with_names_and_a_canary_of_its_own_is_green(clone: Path) -> None:
    edit(clone / "k8s/base/rollout.yaml", "setWeight: 50", "setWeight: 60")
    edit(clone / "k8s/base/rollout.yaml", "replicas: 2", "replicas: 3")
    edit(clone / "config/gates.yaml", "limit: 0.99  ", "limit: 0.985 ")
    assert "wrote k8s/base/analysis-limits.yaml" in call(clone, "gates", "sync").stdout
    programs = Path(sys.executable).parent
    for argv in (
        [programs / "ruff", "check", "."],
        [programs / "ruff", "format", "--check", "."],
        [sys.executable, "-m", "pytest", "-n2", "--dist=loadfile", *TESTS, "--basetemp", clone.parent / "pytest"],
        [programs / "lint-imports", "--no-cache", "--config", "engine/pyproject.toml"],
    ):
        done = run(clone, *argv)
        assert done.returncode == 0, f"{argv}\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
    checked = call(clone, "manifests", "check")
    assert checked.returncode == 0, checked.stderr
    assert "uat: " in checked.stdout
