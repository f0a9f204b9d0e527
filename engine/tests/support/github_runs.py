"""GitHub's runs and re-runs, played in one process: workflows as they are written, with somebody to do their commands.

From docs.github.com of 2026, unless another source is named:
- Control workflow concurrency: one run of a group is in progress; one waits, and a newer one cancels it, or up to 100
  with `queue: max`; `cancel-in-progress` cancels the one in progress too; who waited longest is next; names of groups
  ignore case. `queue: max` came with the changelog of 2026-05-07.
- Re-run workflows and jobs: the event, its commit, ref and actor stay, `run_attempt` grows; re-running failed jobs
  repeats those that need them, the others keep results and outputs; 50 re-runs at most (changelog of 2026-04-10).
- Contexts, `github`: `actor` is who caused the event: of a commit by *Update branch* in a fork, who pressed it.
  `triggering_actor` is who asked for a re-run, which has no rights of its own (changelog of 2022-07-19).
- Events that trigger workflows, `workflow_run`: it runs the default branch's file on the default branch, at the end of
  each attempt. One by GITHUB_TOKEN ends as any other: rancher/fleet#4812 and fluent/fluent-package-builder#1072
  guard against the circle. `pull_request`: closing and reopening makes a new run for the same commit.
- Troubleshoot required status checks: a check counts by its name on the head commit, the latest of that name.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from support.actions_api import PLACE, TOKEN, ActionsApi, archive
from support.day_one import ancestors, needs_of
from support.github_expressions import evaluate, runs
from unit.github.fake_github import REPOSITORY

BOT = "github-actions[bot]"


@dataclass
class Pull:
    """A pull request; `home` is the repository of its branch."""

    number: int
    author: str
    home: Mapping[str, Any]
    sha: str = ""


@dataclass(eq=False)
class Run:
    """`results`: (result, outputs) by job. `again`: attempts that GITHUB_TOKEN began. `ended`: what or who ended it."""

    id: int
    file: str
    github: dict[str, Any]
    pull: Pull | None = None
    attempt: int = 1
    again: int = 0
    status: str = "pending"
    conclusion: str | None = None
    results: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    ended: Any = None
    lost: bool = False
    playing: Iterator[None] | None = None


class StepFailedError(Exception):
    """A command of a step ends with another status than 0."""


@dataclass
class Actions:
    """`do` runs a step's command on a run's machine, whose files are in `root`, and returns outputs."""

    api: ActionsApi
    files: Mapping[str, Any]
    do: Callable[[Run, str, Mapping[str, str]], Mapping[str, str]]
    root: Callable[[Run], Path]
    now: Callable[[], datetime]
    runs: dict[int, Run] = field(default_factory=dict)
    groups: dict[str, list[Run]] = field(default_factory=dict)
    turns: dict[str, list[Run]] = field(default_factory=dict)  # groups of jobs, all of them with `queue: max`
    checks: dict[tuple[str, str], tuple[Run, str]] = field(default_factory=dict)
    cancelled: list[tuple[Run, Run]] = field(default_factory=list)  # by a newcomer to its group, and whom
    variables: dict[str, str] = field(default_factory=dict)  # which GitHub gives no run of a fork

    def pull_request(self, pull: Pull, action: str, actor: str, **more: Any) -> None:
        event = {"action": action, "pull_request": {"labels": [], "head": {"repo": pull.home}}, **more}
        github = {"event_name": "pull_request", "event": event, "ref": f"refs/pull/{pull.number}/merge"}
        self.start("ci.yml", github | {"sha": pull.sha, "actor": actor}, pull)

    def start(self, file: str, github: dict[str, Any], pull: Pull | None = None) -> None:
        number, made = 500 + len(self.runs), self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        named = {"run_id": str(number), "workflow": self.files[file]["name"], "token": TOKEN}
        run = self.runs[number] = Run(number, file, github | named, pull)
        record = {"event": github["event_name"], "actor": {"login": github["actor"]}, "created_at": made}
        if pull:
            record |= {"head_sha": pull.sha, "head_repository": pull.home, "branch": f"change-{pull.number}"}
            record["jobs"] = []
        self.api.add_run(number, file, **({"branch": "main"} | record))
        self._enter(run, github["actor"])

    def rerun(self, run: Run, actor: str, *, everything: bool = False) -> None:
        if run.status != "completed" or run.attempt > 50:
            return
        jobs = self.files[run.file]["jobs"]
        bad = {name for name, (result, _) in run.results.items() if everything or result in ("failure", "cancelled")}
        bad = bad or {"eval"}  # a job by its number
        run.results = {name: one for name, one in run.results.items() if not {name, *ancestors(jobs, name)} & bad}
        run.attempt, run.again = run.attempt + 1, run.again + (actor == BOT)
        self._enter(run, actor)

    def _enter(self, run: Run, actor: str) -> None:
        run.conclusion = run.ended = run.playing = None
        run.github |= {"run_attempt": str(run.attempt), "triggering_actor": actor}
        settings = self.files[run.file]["concurrency"]
        group = self.groups.setdefault(_text(settings["group"], {"github": run.github}).lower(), [])
        most = 100 if settings.get("queue") == "max" else 1
        others = group[1:] if len(group) > most == 1 else []
        for other in group[:] if _text(settings["cancel-in-progress"], {"github": run.github}) == "true" else others:
            self.cancelled.append((run, other))
            self.cancel(other, run)
        group.append(run)
        self._status(run, "pending" if group[1:] else "in_progress")
        if len(group) > most + 1:
            self.cancel(run, run)

    def cancel(self, run: Run, by: Run | str) -> None:
        """`by`: the run that takes its place, or a person."""
        for name in self.files[run.file]["jobs"].keys() - run.results.keys():
            self._job_ended(run, name, ("cancelled", {}), {"github": run.github, "needs": {}})
        self._end(run, "cancelled", by)

    def advance(self, run: Run) -> None:
        """Play a run in progress until its next command, or its end."""
        run.playing = run.playing or self._play(run)
        if next(run.playing, self) is self:
            results = {result for result, _ in run.results.values()}
            self._end(
                run, next(one for one in ("failure", "cancelled", "success", "skipped") if one in results), run.ended
            )
        for number in self.api.again[:]:  # what a step has asked for
            self.api.again.remove(number)
            self.rerun(self.runs[number], BOT, everything=self.api.runs[number]["asked_again"] == "all")

    def _status(self, run: Run, status: str) -> None:
        run.status = status
        self.api.runs[run.id] |= {"status": status, "conclusion": run.conclusion, "run_attempt": run.attempt}

    def _end(self, run: Run, conclusion: str, by: Any) -> None:
        run.conclusion, run.ended = conclusion, by
        self._status(run, "completed")
        group = next(group for group in self.groups.values() if run in group)
        for one in (group, *self.turns.values()):
            one[:] = [other for other in one if other is not run]
        if group and group[0].status == "pending":
            self._status(group[0], "in_progress")
        event = {"action": "completed", "workflow_run": dict(self.api.runs[run.id])}
        for file, workflow in self.files.items():
            if run.github["workflow"] in workflow[True].get("workflow_run", {}).get("workflows", ()):  # True: `on`
                self.start(file, {"event_name": "workflow_run", "event": event, "actor": BOT, "ref": "refs/heads/main"})

    def _play(self, run: Run) -> Iterator[None]:
        jobs = self.files[run.file]["jobs"]
        for name, job in jobs.items():  # in an order in which needs come first
            if name not in run.results:
                given = {one: dict(zip(("result", "outputs"), run.results[one], strict=True)) for one in needs_of(job)}
                context = {"github": run.github, "needs": given, "secrets": {}, "steps": {}, "env": {}}
                context |= {"inputs": run.github["event"].get("inputs", {}), "vars": self.variables}
                context |= {"vars": {}} if run.pull and run.pull.home["full_name"] != REPOSITORY else {}
                begins = runs(job.get("if", ""), context, {one: run.results[one][0] for one in ancestors(jobs, name)})
                ended = (yield from self._job(run, job, context)) if begins else ("skipped", {})
                self._job_ended(run, name, ended, context)

    def _job_ended(self, run: Run, name: str, ended: tuple[str, dict[str, Any]], context: Mapping[str, Any]) -> None:
        run.results[name] = ended
        check = _text(self.files[run.file]["jobs"][name]["name"], context)
        self.checks[run.github.get("sha", ""), check] = run, ended[0]
        if "jobs" in (record := self.api.runs[run.id]):
            record["jobs"].insert(0, {"name": check, "conclusion": ended[0], "url": f"{PLACE}/actions/jobs/{run.id}"})

    def _job(self, run: Run, job: Any, context: dict[str, Any]) -> Any:
        result, turns = "success", self.turns.setdefault(job.get("concurrency", {}).get("group", str(run.id)), [])
        turns.append(run)
        while turns[0] is not run:
            yield
        context["env"] = _texts(job.get("env", {}), context)
        for step in job.get("steps", ()):
            if not runs(str(step.get("if", "")), context, {"before": result}):
                continue
            outputs: Mapping[str, str] = {}
            try:
                if "run" in step:
                    yield
                    if run.lost:
                        result, run.lost = "cancelled", False
                        break
                    given = _texts(step.get("env", {}), context)
                    outputs = self.do(run, step["run"], {**context["env"], **given})
                elif step["uses"].startswith("actions/upload-artifact@"):
                    self._upload(run, _texts(step["with"], context))
            except StepFailedError as error:
                result, run.ended = "failure", run.ended or error
            context["steps"][step.get("id", "")] = {"outputs": outputs}
        turns.remove(run)
        return result, _texts(job.get("outputs", {}), context)

    def _upload(self, run: Run, given: Mapping[str, str]) -> None:
        path = self.root(run) / given["path"]
        if path.is_file():
            self.api.archives[run.id, given["name"]] = archive(**{path.name.replace(".", "__"): path.read_bytes()})
            if given["name"].startswith("spend-reserved-"):
                self.api.reserved.add((run.id, run.attempt))
        elif given.get("if-no-files-found") == "error":
            raise StepFailedError(f"{path.name}: no such file")


def _texts(values: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value, context) for name, value in values.items()}


def _text(value: Any, context: Mapping[str, Any]) -> str:
    def filled(found: re.Match[str]) -> str:
        return _plain(evaluate(found[1], context, {"toJSON": json.dumps}))

    return re.sub(r"\$\{\{(.*?)\}\}", filled, _plain(value), flags=re.DOTALL)


def _plain(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
