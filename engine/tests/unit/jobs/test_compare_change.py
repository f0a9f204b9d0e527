"""A change beside its base: git, checkouts, comparison and reports are real, the pipeline is played."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sluice.core.atomic_files import write_json, write_jsonl
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows, write_rows
from sluice.evaluation.asked_rows import asking_order
from sluice.evaluation.summary import cases_digest
from sluice.jobs.compare_change import review
from starter_files import ROOT
from support.git import git
from unit.jobs.played_comparison import play, record, reproduce, rows
from unit.template.conftest import write


def commit(root: Path, *more: str) -> str:
    git(root, "add", "-A", "-f", "prompts", "config", "pipelines", "data", "pyproject.toml", ".gitignore", *more)
    git(root, "commit", "-q", "-m", "change")
    return git(root, "rev-parse", "HEAD")


def records(asked: list[Row], *, right: bool) -> list[dict[str, Any]]:
    found = []
    for row in asked:
        scores = {"f1": float(right) if row.answerable else None, "decline_accuracy": None if row.answerable else 1.0}
        scores["answer_key"] = float(right or not row.answerable)
        scores |= dict.fromkeys(("mrr", "ndcg_at_5"), 1.0 if row.answerable else None)
        found.append(record(row, {**scores, "citation_correctness": 1.0}, right=right))
    return found


class Pipeline:
    """Plays DVC and the stages. An application is right unless its prompt says LOST."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.asked: list[str] = []
        self.edited = False

    def name(self, workspace: Workspace) -> str:
        return "base" if "checkouts" in str(workspace.root) else "head"

    def pull(self, workspace: Workspace) -> bool:
        self.calls.append((self.name(workspace), "pull"))
        return False

    def reproduce(self, workspace: Workspace, pipeline_progress: Any, *, until: str) -> None:  # noqa: ARG002
        if "BROKEN" in (workspace.prompts / "answer.prompt.yml").read_text():
            raise SluiceError("stage evaluate failed: BROKEN", remedy="fix it")
        self.calls.append((self.name(workspace), until))
        reproduce(workspace)

    def evaluate(self, workspace: Workspace, path: Path, *options: str) -> None:
        self.calls.append((self.name(workspace), "evaluate", *options))
        asked = load_rows(path)
        self.asked += [row.id for row in asked] * (self.name(workspace) == "head")
        right = "LOST" not in (workspace.prompts / "answer.prompt.yml").read_text()
        write_jsonl(path.parent / "cases.jsonl", records(asked, right=right))
        write_json(path.parent / "summary.json", {"cases_digest": cases_digest(asked)})


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    fake = Pipeline()
    played = {"pull": fake.pull, "data_edited": lambda _: fake.edited, "reproduce": fake.reproduce}
    play(monkeypatch, fake.evaluate, **played)
    return fake


@pytest.fixture
def here(workspace: Workspace) -> Workspace:
    shutil.copytree(ROOT / ".dvc", workspace.root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "*.local"))
    (workspace.root / ".gitignore").write_text(".sluice/\nbuild/\n")
    write_rows(workspace.data / "eval.jsonl", rows())
    git(workspace.root, "init", "-q", "-b", "main")
    git(workspace.root, "add", "-A")
    commit(workspace.root)
    return workspace


def edit(workspace: Workspace, word: str) -> None:
    path = workspace.prompts / "answer.prompt.yml"
    path.write_text(path.read_text().replace("You are the assistant", f"{word} You are the assistant"))


def test_an_edit_of_the_working_tree_against_the_last_commit(here: Workspace, pipeline: Pipeline) -> None:
    start = git(here.root, "rev-parse", "HEAD")
    edit(here, "LOST")
    found = review(here, "main")
    assert found.comparison is not None
    assert found.comparison.verdict == "worse"
    assert {metric.name for metric in found.comparison.deciding if metric.verdict == "worse"} == {"answer_key"}
    assert found.title == f"working tree ({start[:12]}-dirty) against main ({start[:12]})"
    assert found.reports == here.build / "comparison"
    text = (here.prompts / "answer.prompt.yml").read_text()
    assert found.edited == {"prompts/answer.prompt.yml": text[: text.index("LOST")].count("\n") + 1}
    document = json.loads((found.reports / "comparison.json").read_text())
    assert document["base"]["prompts"]["answer"] != document["head"]["prompts"]["answer"]
    assert document["base"]["data"] == "d" * 64
    assert document["warnings"][0].startswith("Warning: gate answers_are_right: answer_key is 0.3")
    assert document["head"]["cost"] == pytest.approx(0.03)
    assert [prompt["name"] for prompt in document["prompts"]] == ["answer"]
    sides = [[(side, step) for step in ("pull", "train", "evaluate")] for side in ("head", "base")]
    assert pipeline.calls == [*sides[0], *sides[1]]


@pytest.mark.parametrize("replay", [False, True])
def test_no_more_is_asked_once_the_verdict_is_decided(here: Workspace, pipeline: Pipeline, *, replay: bool) -> None:
    edit(here, "LOST")
    found = review(here, "main", replay=replay).comparison
    assert found is not None
    assert (found.verdict, found.asked, found.compared, found.planned) == ("worse", 30, 30, 60)
    assert found.stopped == "Stopped after 30 of 60 cases: worse is decided (answer_key)."
    order = [row.id for row in asking_order(rows())]
    assert pipeline.asked == (order if replay else order[:30])
    assert {case.id for case in found.cases} == set(order[:30])


def test_cases_are_asked_up_to_each_look_and_none_twice(here: Workspace, pipeline: Pipeline) -> None:
    edit(here, "AND")
    for head_only in (False, True):
        pipeline.calls.clear()
        pipeline.asked.clear()
        found = review(here, "main").comparison
        assert found is not None
        assert (found.verdict, found.asked, found.stopped) == ("no difference seen", 60, "")
        assert pipeline.asked == [row.id for row in asking_order(rows())]
        asked = [side for side, step in pipeline.calls if step == "evaluate"]
        assert asked == (["head"] * 2 if head_only else ["head", "base"] * 2)
        assert pipeline.calls.count(("base", "train")) == (not head_only)


def test_a_base_with_other_documents_is_not_compared(here: Workspace, pipeline: Pipeline) -> None:
    shutil.rmtree(here.data / "corpus")
    write(here.root, {"data.dvc": "outs: [theirs]\n", "data/corpus/chunks.md": "Of chunks.\n"})
    commit(here.root, "data.dvc")
    write(here.root, {"data.dvc": "outs: [ours]\n", "data/corpus/vpn.md": "Of tokens.\n"})
    pipeline.edited = True
    assert review(here, "main").comparison is not None, "one document is in both"
    (here.data / "corpus/chunks.md").unlink()
    pipeline.calls.clear()
    found = review(here, "main")
    assert (found.comparison, "none of these documents" in found.title) == (None, True)
    assert {step for _, step in pipeline.calls} == {"pull"}, "nothing is trained for it"


def test_nothing_changed(here: Workspace, pipeline: Pipeline) -> None:
    (here.root / "pipelines" / "dvc.lock").write_text("of the last run")
    found = review(here, "main")
    assert (found.comparison, found.reports) == (None, None)
    assert "answers as main" in found.title
    assert not pipeline.calls
    (here.root / "engine" / "docs").mkdir(parents=True)
    (here.root / "engine" / "docs" / "page.md").write_text("new")
    assert review(here, "main").comparison is None
    git(here.root, "checkout", "-q", "-b", "mine")
    commit(here.root, "engine")
    assert review(here, "main", "mine").comparison is None


@pytest.mark.usefixtures("pipeline")
def test_what_others_have_merged_meanwhile_is_not_part_of_the_change(here: Workspace) -> None:
    start = git(here.root, "rev-parse", "HEAD")
    git(here.root, "checkout", "-q", "-b", "mine")
    edit(here, "MINE")
    mine = commit(here.root)
    git(here.root, "checkout", "-q", "main")
    edit(here, "LOST")
    commit(here.root)
    found = review(here, "main", "mine")
    assert found.title == f"mine ({mine[:12]}) against main ({start[:12]})"
    assert found.comparison is not None
    assert found.comparison.verdict == "no difference seen"


def test_both_sides_are_asked_the_cases_of_the_head(here: Workspace, pipeline: Pipeline) -> None:
    write_rows(here.data / "eval.jsonl", rows(66))
    pipeline.edited = True
    found = review(here, "main")
    assert found.comparison is not None
    assert found.comparison.planned == 66
    assert ("base", "evaluate") in pipeline.calls[-1:]


@pytest.mark.usefixtures("pipeline")
def test_an_error_says_whose_it_is_and_leaves_no_report(here: Workspace) -> None:
    edit(here, "BROKEN")
    with pytest.raises(SluiceError, match=r"head, working tree \(.*-dirty\): stage evaluate failed: BROKEN") as caught:
        review(here, "main")
    assert caught.value.remedy == "fix it"
    assert not (here.build / "comparison").exists()


def test_without_a_key_nobody_is_asked(here: Workspace, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    path = here.config / "providers.yaml"
    path.write_text(
        path.read_text()
        .replace("kind: local ", "kind: openai\n    key_env: SLUICE_TEST_KEY ", 1)
        .replace("max_concurrency: 8", "max_concurrency: 4")
    )
    monkeypatch.delenv("SLUICE_TEST_KEY", raising=False)
    found = review(here, "main")
    assert found.replayed == "SLUICE_TEST_KEY not set"
    assert [call for call in pipeline.calls if call[-1] == "--replay"] == [
        ("head", "evaluate", "--replay"),
        ("base", "evaluate", "--replay"),
    ]
    monkeypatch.setenv("SLUICE_TEST_KEY", "x")
    assert review(here, "main").replayed == ""
