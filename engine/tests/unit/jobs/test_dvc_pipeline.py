"""`DVC_*` below is what DVC 3.67 prints, copied from runs of a pipeline with these stage names."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import Child, start
from sluice.core.progress import PipelineProgress
from sluice.core.workspace import Workspace
from sluice.jobs import dvc_pipeline as pipeline
from sluice.jobs.dvc_pipeline import Evaluator, command, environment, forget_dead_locks, pull, reproduce

DVC_COLD = """\
Running stage 'pipelines/dvc.yaml:check':
> sluice data check --out build/check/report.json
Generating lock file 'pipelines/dvc.lock'
Updating lock file 'pipelines/dvc.lock'

Running stage 'pipelines/dvc.yaml:index':
> sluice index build
Updating lock file 'pipelines/dvc.lock'

To track the changes with git, run:

	git add .gitignore pipelines/dvc.lock

To enable auto staging, run:

	dvc config core.autostage true
Use `dvc push` to send your updates to remote storage.
"""
DVC_UNCHANGED = """\
Stage 'pipelines/dvc.yaml:check' didn't change, skipping
Stage 'pipelines/dvc.yaml:index' didn't change, skipping
Data and pipelines are up to date.
"""
DVC_CACHED = """\
Running stage 'pipelines/dvc.yaml:check':
> sluice data check --out build/check/report.json
Updating lock file 'pipelines/dvc.lock'

Stage 'pipelines/dvc.yaml:index' is cached - skipping run, checking out outputs
Updating lock file 'pipelines/dvc.lock'
"""
DVC_CODE = """\
Running stage 'pipelines/dvc.yaml:code':
> sluice code digest
index: 1 file changed: sluice/retrieval/retriever.py
"""
DVC_MIXED = """\
'data.dvc' didn't change, skipping
Stage 'pipelines/dvc.yaml:check' didn't change, skipping
Stage 'pipelines/dvc.yaml:index' didn't change, skipping
Running stage 'pipelines/dvc.yaml:train':
> sluice train
"""
DVC_FAILED = DVC_MIXED + "error: data/train.jsonl:3: key 'id' is missing\nERROR: failed to reproduce 'train'\n"


@pytest.fixture
def pipeline_progress(tmp_path: Path) -> PipelineProgress:
    return PipelineProgress(dict.fromkeys(pipeline.STAGES, 1.0), tmp_path / "durations.json", io.StringIO())


def taken(pipeline_progress: PipelineProgress) -> list[tuple[object, object]]:
    return [(entry["stage"], entry["cached"]) for entry in pipeline_progress.taken]


@pytest.fixture
def dvc(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A `dvc` that prints a text, does what `code` says, ends with `status`, and notes its arguments in calls.txt."""
    (workspace.root / "data.dvc").write_text("outs:\n- md5: one\n  path: data\n")
    calls = workspace.root / "calls.txt"

    def fake(text: str = "", *, status: int = 0, code: str = "") -> None:
        script = workspace.root / "fake_dvc.py"
        script.write_text(
            "import os, sys\n"
            f"with open({str(calls)!r}, 'a') as stream: stream.write(' '.join(sys.argv[1:]) + '\\n')\n"
            f"sys.stdout.write({text!r}); sys.stdout.flush()\n{code}\nsys.exit({status})\n"
        )
        monkeypatch.setattr(pipeline, "command", lambda *words: [sys.executable, str(script), *words[1:]])

    def called() -> list[str]:
        return calls.read_text().splitlines() if calls.exists() else []

    fake.called = called  # type: ignore[attr-defined]
    return fake  # type: ignore[return-value]


def records(workspace: Workspace) -> list[Path]:
    return list((workspace.state / "run").glob("*"))


def test_pull_does_nothing_to_data_that_is_there(workspace: Workspace, dvc) -> None:
    dvc(status=1)
    assert pull(workspace) is False  # first run on a checkout that has its data
    assert pull(workspace) is False
    assert dvc.called() == []


def test_pull_brings_missing_data_once(workspace: Workspace, dvc) -> None:
    dvc(code="os.makedirs('data', exist_ok=True)")
    workspace.data.rename(workspace.root / "elsewhere")
    assert pull(workspace) is True
    assert pull(workspace) is False
    assert dvc.called() == ["pull data.dvc"]
    assert not records(workspace)


STALE = "sys.exit(1 if sys.argv[1] == 'status' else 0)"


def test_pull_follows_data_dvc_when_it_names_another_version(workspace: Workspace, dvc) -> None:
    dvc(code=STALE)
    pull(workspace)
    (workspace.root / "data.dvc").write_text("outs:\n- md5: two\n  path: data\n")
    assert pull(workspace) is True
    assert pull(workspace) is False
    assert dvc.called() == ["status --quiet data.dvc", "pull data.dvc"]


def test_a_pull_that_fails_is_told_with_the_remotes_and_tried_again(workspace: Workspace, dvc) -> None:
    dvc("ERROR: failed to pull data: no such remote 'starter'\n", status=1)
    workspace.data.rename(workspace.root / "elsewhere")
    for _ in range(2):
        with pytest.raises(SluiceError, match="no such remote 'starter'") as caught:
            pull(workspace)
        assert "  remote " in caught.value.message
        assert ".dvc/config" in caught.value.remedy
    assert dvc.called() == 2 * ["pull data.dvc", "remote list"]
    assert not records(workspace)
    assert not workspace.data.exists()


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        (DVC_COLD, [("check", False), ("index", False)]),
        (DVC_UNCHANGED, [("check", True), ("index", True)]),
        (DVC_CODE + DVC_CACHED, [("check", False), ("index", True)]),
        (DVC_MIXED, [("check", True), ("index", True), ("train", False)]),
        ("Stage 'other' didn't change, skipping\n", []),
    ],
)
def test_reproduce_says_what_ran_and_what_did_not(
    workspace: Workspace, pipeline_progress: PipelineProgress, dvc, text: str, ended: list
) -> None:
    dvc(text)
    reproduce(workspace, pipeline_progress)
    assert taken(pipeline_progress) == ended
    assert dvc.called() == ["repro pipelines/dvc.yaml:evaluate"]
    assert not records(workspace)
    assert (workspace.state / "data.synced").read_text() == (workspace.root / "data.dvc").read_text()


def test_a_failed_stage_is_named_in_its_words(workspace: Workspace, pipeline_progress: PipelineProgress, dvc) -> None:
    dvc(DVC_FAILED, status=255)
    with pytest.raises(SluiceError) as caught:
        reproduce(workspace, pipeline_progress)
    assert caught.value.message.startswith("stage train failed:\n")
    assert "error: data/train.jsonl:3: key 'id' is missing" in caught.value.message
    assert "Running stage" not in caught.value.message
    assert str(workspace.state / "logs" / "dvc.log") in caught.value.remedy
    assert not records(workspace)


NOTE = "open('data.dvc', 'a').write('  nfiles: 9\\n')"


@pytest.mark.parametrize(("status", "kept"), [(0, True), (255, False)])
def test_data_versions(workspace: Workspace, pipeline_progress: PipelineProgress, dvc, status: int, kept: bool) -> None:
    dvc(DVC_COLD, status=status, code=NOTE)
    with contextlib.nullcontext() if kept else pytest.raises(SluiceError):
        reproduce(workspace, pipeline_progress)
    assert ("nfiles: 9" in (workspace.root / "data.dvc").read_text()) == kept


def test_an_interrupt_ends_the_run(workspace: Workspace, pipeline_progress: PipelineProgress, dvc, monkeypatch) -> None:
    dvc(DVC_COLD, code="import time; time.sleep(60)")
    seen: list[int] = []

    def starting(*words, **options) -> Child:
        child = start(*words, **options)
        seen.append(child.process.pid)
        return child

    def interrupt(_progress: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "start", starting)
    monkeypatch.setattr(pipeline_progress, "follow", interrupt)
    with pytest.raises(KeyboardInterrupt):
        reproduce(workspace, pipeline_progress)
    assert not Path(f"/proc/{seen[0]}").exists()
    assert not records(workspace)


def test_programs_are_ours_and_code_is_the_checkout_s(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(sys.executable).parent)
    assert command("dvc", "repro") == [f"{here}/dvc", "repro"]
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    env = environment(workspace)
    assert env["PATH"].split(os.pathsep)[0] == here
    code = [str(workspace.root / "src"), str(workspace.root / "engine" / "src")]
    assert env["PYTHONPATH"].split(os.pathsep) == [*code, "elsewhere"]


def test_a_run_may_end_before_the_last_stage(workspace: Workspace, pipeline_progress: PipelineProgress, dvc) -> None:
    dvc(DVC_UNCHANGED)
    stages = workspace.root / "pipelines" / "dvc.yaml"
    stages.parent.mkdir(exist_ok=True)
    stages.write_text("stages: {check: {}, index: {}, train: {}, evaluate: {}}\n")  # of before there was a guard model
    reproduce(workspace, pipeline_progress, until="train")
    stages.write_text("stages: {check: {}, index: {}, guard: {}, train: {}, evaluate: {}}\n")
    reproduce(workspace, pipeline_progress, until="train")
    older = "repro " + " ".join(f"pipelines/dvc.yaml:{stage}" for stage in ("check", "index", "train"))
    assert dvc.called() == [older, older.replace(":train", ":guard pipelines/dvc.yaml:train")]


FOLLOWING = """
from pathlib import Path
for number, line in enumerate(sys.stdin):
    asked = Path(line.strip())
    (asked.parent / "summary.json").write_text(f"{os.getpid()} {number} {asked.read_text()}")
"""


def test_a_checkout_is_asked_by_one_process(workspace: Workspace, pipeline_progress: PipelineProgress, dvc) -> None:
    dvc(code=FOLLOWING)
    evaluator, answers = Evaluator(workspace, "--replay"), []
    for name in ("first", "second"):
        asked = workspace.build / name / "asked.jsonl"
        asked.parent.mkdir(parents=True)
        asked.write_text(name)
        (asked.parent / "summary.json").write_text("of an earlier comparison")
        evaluator.ask(asked, pipeline_progress)
        answers.append((asked.parent / "summary.json").read_text().split())
    evaluator.close()
    assert [answer[1:] for answer in answers] == [["0", "first"], ["1", "second"]]
    assert answers[0][0] == answers[1][0]
    assert dvc.called() == ["evaluate --follow --replay"]
    assert not Path(f"/proc/{answers[0][0]}").exists()
    assert not records(workspace)


def test_an_evaluation_that_fails_says_why(workspace: Workspace, pipeline_progress: PipelineProgress, dvc) -> None:
    dvc("error: the model file is damaged\n", status=1)
    evaluator = Evaluator(workspace)
    with pytest.raises(SluiceError, match="the evaluation failed:\nerror: the model file is damaged"):
        evaluator.ask(workspace.build / "asked.jsonl", pipeline_progress)
    evaluator.close()
    assert not records(workspace)


def test_what_a_killed_dvc_has_locked_is_free_again(workspace: Workspace) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has collected it
    path = workspace.root / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True)
    mine, dead = ({"pid": pid, "cmd": "dvc repro"} for pid in (os.getpid(), ended.pid))
    path.write_text(json.dumps({"data": {"read": [dead, mine]}, "build": {"write": dead}, "x": {"write": mine}}))
    forget_dead_locks(workspace)
    assert json.loads(path.read_text()) == {"data": {"read": [mine]}, "x": {"write": mine}}
    ended.wait()
    path.write_text("no json")
    forget_dead_locks(workspace)
    assert path.read_text() == "no json"
