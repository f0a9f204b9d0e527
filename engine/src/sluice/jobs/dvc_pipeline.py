"""Runs the DVC pipeline and shows its progress. Stages run with the code of their own checkout."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sluice.core import closures
from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError
from sluice.core.processes import Child, is_running, program, start, wait_until
from sluice.core.progress import VARIABLE, PipelineProgress
from sluice.core.settings import read_yaml
from sluice.core.workspace import Workspace
from sluice.evaluation.response_cache import REBUILD, rebuilding
from sluice.release import starter

# What dvc noted of its last run here: of this machine only, but dvc wants it where git could see it.
LOCK = "pipelines/dvc.lock"
STAGES = tuple(closures.STAGES)
PREPARED = STAGES[-2]  # after it every question can be asked
# Seconds of each stage on two cores without AVX-512, until a run has measured its own: with the trained starter, and
# where these stages have to work.
EXPECTED = {"data": 4, "check": 14, "index": 9, "guard": 2, "train": 2, "evaluate": 20}
_WORKING = {"guard": 200, "train": 1520, "evaluate": 250, "baseline": 235}
_RUNNING = re.compile(r"Running stage '(?:.*:)?(\w+)'")
_SKIPPED = re.compile(r"Stage '(?:.*:)?(\w+)' (?:didn't change, skipping|is cached)")
_NOISE = re.compile(
    r"^(?:Running stage|> |(?:Updating|Generating) lock file|To track|\s*git add|To enable|\s*dvc config"
    r"|Use `dvc push`|md5: |$)"
)


def progress_of(workspace: Workspace, seconds: Mapping[str, float] = EXPECTED) -> PipelineProgress:
    """Return the progress of stages, which take longer if no starter hands out their results."""
    usual = {} if starter.fits(workspace) else _WORKING
    here = {stage: usual.get(stage, expected) for stage, expected in seconds.items()}
    return PipelineProgress(here, workspace.state / "durations.json")


def command(*words: str) -> list[str]:
    """Return the words of a command of this virtual environment, whatever the caller's PATH."""
    return [str(program(words[0])), *words[1:]]


def environment(workspace: Workspace, progress: Path | None = None) -> dict[str, str]:
    """Return the environment of child commands."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": workspace.code,
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_MODEL_CATALOG_URI": "",
        **({VARIABLE: str(progress)} if progress else {}),
    }


def pull(workspace: Workspace) -> bool:
    """Bring data/ to what data.dvc names, if data.dvc is new here. Local edits are never overwritten."""
    pointer = workspace.root / "data.dvc"
    if not pointer.is_file():
        raise SluiceError(f"{pointer}: no such file", remedy="`sluice data push` writes it, or restore it with git")
    synced = workspace.state / "data.synced"
    wanted = pointer.read_text()
    known = not synced.exists() or synced.read_text() == wanted
    # A run that was killed had edited data noted in data.dvc by dvc: what it names is what is here.
    if workspace.data.is_dir() and (known or not data_edited(workspace)):
        write_atomic(synced, wanted)
        return False
    done, words = dvc(workspace, "pull", "data.dvc")
    if not done:
        remotes = "\n".join(f"  remote {line}" for line in dvc(workspace, "remote", "list")[1].splitlines())
        raise SluiceError(
            f"data.dvc: dvc could not bring the data:\n{words}\n{remotes}",
            remedy="fix the remote (.dvc/config); keep local changes of data/ with `dvc add data` first",
        )
    write_atomic(synced, wanted)
    return True


def data_edited(workspace: Workspace) -> bool:
    """Check that data/ is here and isn't what data.dvc names."""
    return workspace.data.is_dir() and not dvc(workspace, "status", "--quiet", "data.dvc")[0]


def dvc(workspace: Workspace, *words: str) -> tuple[bool, str]:
    """Run a short dvc command; return whether it succeeded and its output."""
    child = _start_dvc(workspace, f"dvc-{words[0]}", *words)
    try:
        child.process.wait()
    finally:
        status = child.stop()
    return status == 0, _explain(child)


def reproduce(workspace: Workspace, pipeline_progress: PipelineProgress, *, until: str = STAGES[-1]) -> None:
    """Run the stale stages. dvc notes edited data in data.dvc; a run that fails takes that back."""
    pointer = workspace.root / "data.dvc"
    noted = pointer.read_text()
    progress = _progress(workspace)
    progress.unlink(missing_ok=True)
    pipeline_progress.begin(STAGES[0])
    targets = [f"pipelines/dvc.yaml:{stage}" for stage in _wanted(workspace, until)]
    force = ["--force"] if rebuilding() else []
    child = _start_dvc(workspace, "dvc", "repro", *force, *targets, progress=progress)
    seen, stage, alive = 0, "", True
    try:
        while alive:
            alive = child.running
            # The last one may be written still: it would be heard by half, and never again.
            lines = child.log.read_text(errors="replace").rpartition("\n")[0].splitlines()
            for line in lines[seen:]:
                stage = _listen(line, pipeline_progress, stage)
            seen = len(lines)
            if alive:
                pipeline_progress.follow(progress)
                with suppress(subprocess.TimeoutExpired):  # a moment, but not past its end
                    child.process.wait(0.3)
    finally:
        status = child.stop()
        if status != 0 and pointer.read_text() != noted:
            write_atomic(pointer, noted)
    if status != 0:
        raise SluiceError(
            f"stage {pipeline_progress.stage} failed:\n{_explain(child)}", remedy=f"the whole log is {child.log}"
        )
    if stage:
        pipeline_progress.end()
    write_atomic(workspace.state / "data.synced", pointer.read_text())


def _wanted(workspace: Workspace, until: str) -> list[str]:
    """Return the stages up to `until`; an older checkout has fewer."""
    if until == STAGES[-1]:
        return [until]
    there = read_yaml(workspace.root / "pipelines" / "dvc.yaml")[0]["stages"]
    return [stage for stage in STAGES[: STAGES.index(until) + 1] if stage in there]


def _start_dvc(workspace: Workspace, name: str, *words: str, progress: Path | None = None) -> Child:
    forget_dead_locks(workspace)
    env = environment(workspace, progress)
    return start(name, command("dvc", *words), state=workspace.state, env=env, cwd=workspace.root)


def forget_dead_locks(workspace: Workspace) -> None:
    """Remove locks of killed runs: dvc takes a zombie process for a living one and would refuse to start."""
    path = workspace.root / ".dvc" / "tmp" / "rwlock"
    try:
        held = json.loads(path.read_text())
    except (OSError, ValueError):
        return
    if not Path("/proc/self").exists():
        return
    kept: dict[str, dict[str, Any]] = {}
    for place, locks in held.items():
        reads = [one for one in locks.get("read", []) if is_running(one["pid"])]
        alive = {"read": reads} if reads else {}
        if (write := locks.get("write")) and is_running(write["pid"]):
            alive["write"] = write
        if alive:
            kept[place] = alive
    if kept != held:
        write_atomic(path, json.dumps(kept))


def evaluate(workspace: Workspace, pipeline_progress: PipelineProgress, *options: str) -> None:
    """Run `sluice evaluate` in its own process, so that a crash of llama.cpp doesn't end this one."""
    child = _start_evaluate(workspace, *options)
    try:
        while not wait_until(lambda: not child.running, seconds=0.5):
            pipeline_progress.follow(_progress(workspace), "evaluate")
    finally:
        status = child.stop()
    if status != 0:
        raise _failed_evaluation(child)


class Evaluator:
    """Asks a checkout rows by `sluice evaluate --follow`, in one process, so that a model loads once."""

    def __init__(self, workspace: Workspace, *options: str) -> None:
        self._workspace, self._options = workspace, options
        self._child: Child | None = None

    def ask(self, asked: Path, pipeline_progress: PipelineProgress) -> None:
        """Evaluate the rows of a file; the results lie beside it."""
        done = asked.parent / "summary.json"
        for old in (_progress(self._workspace), done):
            old.unlink(missing_ok=True)
        if self._child is None:
            self._child = _start_evaluate(self._workspace, "--follow", *self._options, stdin=subprocess.PIPE)
        child = self._child
        assert child.process.stdin
        with suppress(BrokenPipeError):  # it has ended, which is seen below
            child.process.stdin.write(f"{asked}\n".encode())
            child.process.stdin.flush()
        while not wait_until(lambda: done.exists() or not child.running, seconds=0.5):
            pipeline_progress.follow(_progress(self._workspace), "evaluate")
        if not done.exists():
            child.stop()
            raise _failed_evaluation(child)

    def close(self) -> None:
        if (child := self._child) and child.process.stdin:
            with suppress(BrokenPipeError):
                child.process.stdin.close()
            child.stop()


def _start_evaluate(workspace: Workspace, *options: str, stdin: int = subprocess.DEVNULL) -> Child:
    progress = _progress(workspace)
    progress.unlink(missing_ok=True)
    argv, env = command("sluice", "evaluate", *options), environment(workspace, progress)
    return start("evaluate", argv, state=workspace.state, env=env, cwd=workspace.root, stdin=stdin)


def _failed_evaluation(child: Child) -> SluiceError:
    return SluiceError(f"the evaluation failed:\n{child.tail()}", remedy=f"the whole log is {child.log}")


def _progress(workspace: Workspace) -> Path:
    return workspace.state / "progress.json"


def _listen(line: str, pipeline_progress: PipelineProgress, running: str) -> str:
    """Return the stage that runs after a line of dvc's log, empty for none."""
    found = _SKIPPED.search(line) or _RUNNING.search(line)
    if not found:
        return running
    if running:
        pipeline_progress.end()
    if found[1] not in STAGES:  # `code`, which always runs
        return ""
    pipeline_progress.begin(found[1])
    if found.re is _RUNNING:
        return found[1]
    pipeline_progress.end(cached=True)
    return ""


def _explain(child: Child) -> str:
    """Return the stage's own words out of DVC's log."""
    lines = [line for line in child.log.read_text(errors="replace").splitlines() if not _NOISE.match(line)]
    return "\n".join(f"  {line}" for line in lines[-25:])


def hand_out(workspace: Workspace) -> Iterator[str]:
    """Record what was built, add it to DVC, push it, and drop what an earlier starter left in a local remote."""
    from ruamel.yaml import YAML

    os.environ[REBUILD] = "yes"  # the answers of the rebuild are handed out
    pointer = workspace.root / starter.POINTER
    before = _stored(workspace) if pointer.is_file() else set()
    made = starter.record(workspace)
    _run(workspace, "add", "starter")
    yaml = YAML()
    yaml.width = 4096  # one line for each digest
    document = yaml.load(pointer.read_text(encoding="utf-8"))
    document["meta"] = made.model_dump(mode="json")
    stream = io.StringIO()
    yaml.dump(document, stream)
    write_atomic(pointer, stream.getvalue())
    _run(workspace, "push", starter.POINTER)
    for path in before - _stored(workspace):
        path.unlink(missing_ok=True)
    for name, path in starter.objects(workspace, pointer).items():
        yield f"{path.stat().st_size:>12,}  {name}"
    yield f"commit {starter.POINTER} and what was pushed"


def _stored(workspace: Workspace) -> set[Path]:
    pointer = workspace.root / starter.POINTER
    return {starter.folder_list(workspace, pointer), *starter.objects(workspace, pointer).values()}


def _run(workspace: Workspace, *words: str) -> None:
    done, said = dvc(workspace, *words)
    if not done:
        raise SluiceError(f"dvc {' '.join(words)} failed:\n{said}")
