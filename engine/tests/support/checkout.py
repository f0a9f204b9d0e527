"""A clone of a project in which whole releases are made, for tests.

`small` makes them small: they show that the project takes a release from the data to the last canary step, not how good
it is. A canary that answers with errors is stopped as ever."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from sluice.core.extras import hooks
from sluice.core.processes import wait_until
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows, write_rows
from sluice.release import starter
from sluice.release.champion import champion_id
from sluice.release.environment_record import here
from sluice.rollout.canary_plan import load_plan
from support.git import git

CASES = 8
SMALL: Mapping[str, Mapping[str, Any]] = {
    "guard": {"garak": False, "honest": False, "embedded": 300},
    "train": {"steps": 2, "passages": 1},
    "evaluate": {"limit": 0, "workers": 2, "trials": 1},
    "rehearsal": {"cases": 6},
}
# What the pauses and loads of a canary may take together.
CANARY_SECONDS = 8.0
# The untouched model ends few answers by itself, and each token takes as long as any other.
LONGEST_ANSWER = 24
TRAINED_WITH = ("finetune.prompt.yml",)  # with another the starter's files would not fit
# Beyond what any figure reaches.
FAR = 1e6
_MINUTES = 45
# Seconds that an answer may take on a machine with much else to do. How long it may take is asked elsewhere.
PATIENCE = 600
_LOCAL = {
    "name": "local",
    "kind": "local",
    "model": "chat",
    "timeouts": {"connect": 60, "queue": PATIENCE, "first_token": PATIENCE},
    "retries": 1,
    "max_concurrency": 32,
    "breaker": {"window": 20, "failures": 10, "open_seconds": 5},
    "prices": {"input": 0, "output": 0},
}


@dataclass(frozen=True)
class Outcome:
    """How `sluice release make` ended; `release` is empty if it made none."""

    status: int
    release: str
    verdict: str
    rehearsed: bool
    output: str


class Checkout:
    def __init__(self, source: Path, folder: Path) -> None:
        """Clone a project with uncommitted changes and its data."""
        self.root = folder
        git(source, "clone", "--quiet", str(source), str(folder))
        for name in _listed(source, "-mo", "--exclude-standard"):
            _bring(source, folder, name)
        for bring in hooks("checkout").values():
            bring(source, folder)
        if (source / "data").is_dir():
            shutil.copytree(source / "data", folder / "data")

    @property
    def live(self) -> str:
        return champion_id(here(Workspace(self.root))) or ""

    def small(self) -> None:
        workspace = Workspace(self.root)
        if not workspace.data.is_dir():
            subprocess.run([_program("dvc"), "pull", "--quiet", "data.dvc"], cwd=self.root, check=True)
        taken = [stage for stage in starter.FILES if starter.take(workspace, stage)]  # these need no training
        self.edit("pipelines/params.yaml", lambda params: self._shrink(params, taken))
        self.edit("config/gates.yaml", _open_gates)
        self.edit("config/providers.yaml", _answer_here)
        # Reading passages is most of the work of the model.
        self.edit("config/service.yaml", lambda service: service["retrieval"].update(k=1))
        for path in (self.root / "prompts").glob("*.prompt.yml"):
            if path.name not in TRAINED_WITH:
                self.edit(f"prompts/{path.name}", _answer_briefly)
        self.be_patient()
        rows = workspace.data / "eval.jsonl"
        write_rows(rows, some_of_each(load_rows(rows), CASES))
        self.commit("small releases")

    def be_patient(self) -> None:
        self.edit("config/service.yaml", _wait_for_answers)
        self.edit("config/providers.yaml", _wait_for_models)
        self.edit("config/guardrails.yaml", lambda document: document.update(timeout_seconds=60))
        self.edit("config/stores.yaml", _wait_for_stores)
        self.edit("k8s/base/rollout.yaml", _wait_in_analyses)

    def _shrink(self, params: dict[str, Any], taken: Sequence[str]) -> None:
        for section, values in SMALL.items():
            if section in params and section not in taken:  # a part that was left out has none
                params[section] |= values
        planned = load_plan(self.root / "k8s" / "base" / "rollout.yaml").fitted(time_scale=1.0, cases=1).seconds
        params["rehearsal"]["time_scale"] = min(params["rehearsal"]["time_scale"], CANARY_SECONDS / planned)

    def change_what_serves(self) -> None:
        """Make another release that gives the same answers, so that nothing is trained or evaluated."""
        self.edit("config/service.yaml", lambda service: service.update(drain_seconds=service["drain_seconds"] + 1))

    def edit(self, name: str, change: Any) -> None:
        path = self.root / name
        document = yaml.safe_load(path.read_text())
        change(document)
        path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))

    def commit(self, message: str) -> None:
        self.git("commit", "--quiet", "--no-verify", "--allow-empty", "--all", "-m", message)

    def git(self, *words: str) -> str:
        return git(self.root, *words)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `sluice` in the clone, with the clone's own code."""
        # A plain shell stays between dvc and its stage, where bash makes way for it.
        env = {**os.environ, "PYTHONPATH": Workspace(self.root).code, "COLUMNS": "160", "SHELL": "/bin/sh"}
        # Its releases are none of the pull request that these tests run for, nor of a store that another test has set.
        for name in ("GITHUB_STEP_SUMMARY", "MLFLOW_TRACKING_URI"):
            env.pop(name, None)
        argv = [str(_program("sluice")), *words]
        return subprocess.Popen(
            argv, cwd=self.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        try:
            output, _ = process.communicate(timeout=60 * _MINUTES)
        finally:
            process.kill()
        print(output)
        return process.returncode, output

    def release(self, fault: str = "") -> Outcome:
        status, output = self.run("release", "make", *(["--fault", fault] if fault else []))
        found = re.search(r"^release\s+(r-[0-9a-f]{12})\s+(.*?)\s*$", output, re.MULTILINE)
        name, verdict = (found[1], found[2]) if found else ("", "")
        rehearsed = bool(name) and (Workspace(self.root).releases / name / "rehearsal.json").is_file()
        return Outcome(status, name, verdict, rehearsed, output)

    def first_release(self) -> Outcome:
        """A release with a canary. If nothing is trained, the first one is live without it; then it is the next."""
        first = self.release()
        if first.verdict != "promoted" or first.rehearsed:
            return first
        self.change_what_serves()
        return self.release()

    def processes(self) -> list[psutil.Process]:
        """Everything that runs from this clone or in it: a stage's command line doesn't name it."""
        found = []
        for process in psutil.process_iter():
            try:
                words = [*process.cmdline(), process.cwd()]
            except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                continue
            if str(self.root) in " ".join(words):
                found.append(process)
        return found

    def left(self, seconds: float = 240) -> list[str]:
        wait_until(lambda: not self.processes(), seconds=seconds)
        return [str(one) for one in self.processes()]


def some_of_each(rows: list[Row], number: int) -> list[Row]:
    """Return at most `number` rows: one of each tag and kind, then others, evenly spread."""
    kinds: set[str] = set()
    chosen: set[str] = set()
    for row in rows:
        wanted = {*row.tags, "answerable" if row.answerable else "unanswerable", *(["expect"] if row.expect else [])}
        if wanted - kinds and len(chosen) < number:
            chosen.add(row.id)
            kinds |= wanted
    others = [row.id for row in rows if row.id not in chosen]
    missing = max(0, min(number - len(chosen), len(others)))
    chosen |= {others[at * len(others) // missing] for at in range(missing)}
    return [row for row in rows if row.id in chosen]


def _open_gates(document: dict[str, Any]) -> None:
    """Open the gates to figures of a small release; errors of the canary still count."""
    for gate in document["gates"]:
        if gate["stage"] not in ("evaluation", "load"):
            continue
        gate["min_samples"] = 1
        if gate["metric"] != "error_rate":
            gate["limit"] = FAR if gate["direction"] == "at_most" else 1 / FAR if gate["compare"] == "ratio" else -FAR
    comparison = document["comparison"]
    comparison["minimum_cases"] = 2
    for name, metric in comparison["metrics"].items():
        if name != "answered" and metric.get("decides", "never") != "never":
            metric |= {"decides": "when_asked", "smallest": FAR}


def _answer_here(document: dict[str, Any]) -> None:
    if any(entry["kind"] != "local" for entry in document["chat"]):
        document["chat"] = [dict(_LOCAL)]
    document |= {role: [] for role in ("judge", "teacher") if role in document}


def _answer_briefly(prompt: dict[str, Any]) -> None:
    parameters = prompt.setdefault("modelParameters", {})
    parameters["maxTokens"] = min(parameters.get("maxTokens", LONGEST_ANSWER), LONGEST_ANSWER)


def _wait_for_answers(document: dict[str, Any]) -> None:
    document["llm"]["timeout_seconds"] = PATIENCE
    document["limits"]["queue_seconds"] = PATIENCE
    document["drain_seconds"] = 28  # a rehearsal gives a release two seconds more


def _wait_for_models(document: dict[str, Any]) -> None:
    for entry in document["chat"]:
        entry["timeouts"] = {"connect": 60, "queue": PATIENCE, "first_token": PATIENCE}


def _wait_for_stores(document: dict[str, Any]) -> None:
    for store in document["stores"].values():
        store["timeout_seconds"] = 60


def _wait_in_analyses(document: dict[str, Any]) -> None:
    names = {"load": "answer-timeout", "quality": "answer-timeout-seconds"}
    for step in document["spec"]["strategy"]["canary"]["steps"]:
        analysis = step.get("analysis", {"templates": []})
        told = [names[one["templateName"]] for one in analysis["templates"] if one["templateName"] in names]
        if told:  # a list of its own: an anchor of YAML may share it
            more = [{"name": name, "value": str(PATIENCE)} for name in told]
            analysis["args"] = [*analysis.get("args", ()), *more]


def _program(name: str) -> Path:
    return Path(sys.executable).parent / name


def _listed(source: Path, *options: str) -> list[str]:
    return [name for name in git(source, "ls-files", *options, "-z").split("\0") if name]


def _bring(source: Path, folder: Path, name: str) -> None:
    if (source / name).is_file():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, folder / name)
    elif not (source / name).exists():
        (folder / name).unlink(missing_ok=True)
