"""What workflows take: `.venv/bin/python engine/benchmarks/workflow_minutes.py [quiet …] [--again]`.

Each situation is a run of the whole workflow by act, one job after the other, so that each has the machine to itself as
on GitHub; `make setup`, checks, tests, training, evaluation and rehearsal are the real ones. What a job takes includes
its set-up out of warm caches, and not what brings those caches, the runner and the checkout: pulling is left out. The
wall clock is that of the longest way through `needs`. GitHub is played (engine/docs/reference/workflow-tests.md), and
releases go to a real registry (`docker-registry`) and a repository of git.

A situation that was measured for this commit is not measured again, unless with --again, so a run that was cut off goes
on. The tables are printed after each, from the last measurement of every one, which build/workflow-minutes/ keeps.
`night` comes first: it fills the cache that a pull request starts from.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "engine" / "tests"))

from figures import table  # noqa: E402 - beside this file

from unit.github.fake_github import WRITER, FakeGitHub, fake_github  # noqa: E402 - found by the line above
from unit.release.stores import store_under_test  # noqa: E402
from workflows.act import ACT, HERE, RUNNER, VENV, end_session, load, stubs  # noqa: E402
from workflows.scratch import REPOSITORY, pull_request, pushed, repository  # noqa: E402

KEPT = ROOT / "build" / "workflow-minutes"
ROWS = KEPT / "measured.json"  # the last measurement of every situation
PROMPT = ("prompts/answer.prompt.yml", "the one or two", "one or two")
# Of the runner, for `setup`: packages come out of this machine's caches, torch from where it has it.
_MAKE = """#!/bin/sh
if [ "$1" = setup ]; then unset PIP_EXTRA_INDEX_URL; fi
exec "{make}" "$@"
"""


@dataclass(frozen=True)
class Limit:
    """`what` of a situation: `wall` to a job (or `comment`), or the `sum` of all; at most `minutes`."""

    what: str
    job: str
    minutes: float


@dataclass(frozen=True)
class Situation:
    """A run of a workflow. `change`: the file that is changed, and how."""

    workflow: str
    event: str
    change: tuple[str, str, str] | None
    limits: tuple[Limit, ...]


SITUATIONS = {
    "night": Situation("nightly.yml", "schedule", None, (Limit("wall", "report", 30),)),
    "quiet": Situation("nightly.yml", "schedule", None, (Limit("sum", "", 5),)),  # the last one passed
    "prompt": Situation(
        "ci.yml",
        "pull_request",
        PROMPT,
        (Limit("comment", "eval", 4), Limit("wall", "required", 6), Limit("sum", "", 10)),
    ),
    "page": Situation("ci.yml", "pull_request", ("docs/set-up.md", "# ", "# How to "), (Limit("sum", "", 2),)),
    "merge": Situation("release.yml", "push", PROMPT, (Limit("wall", "production", 20), Limit("sum", "", 15))),
}


@dataclass
class Measured:
    """Seconds of each job, by its name in the file; `comment`: from the beginning of `eval` to its comment."""

    commit: str
    status: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    comment: float = 0.0


class Repository:
    """A clone of this checkout, as the events of scratch.py want it: `head` and `base`."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder)], check=True)
        self.git("checkout", "--quiet", "-B", "main")
        self.git("update-ref", "refs/remotes/origin/main", "HEAD")
        self.base = self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=octocat", "-c", "user.email=octocat@example.invalid", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", "-C", str(self.root), *who, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def change(self, situation: Situation) -> None:
        """The commit that the run is for, upon the base."""
        self.git("checkout", "--quiet", "--force", "-B", "change", self.base)
        if situation.change:
            name, old, new = situation.change
            path = self.root / name
            text = path.read_text()
            assert old in text, f"{name}: no {old!r}, so the change would be none"
            path.write_text(text.replace(old, new, 1))
        if situation.event == "push":  # a key of GitHub's that act refuses; no check reads the files there
            for path in (self.root / ".github" / "workflows").glob("*.yml"):
                path.write_text(path.read_text().replace("  queue: max", "  # queue: max"))
        self.git("commit", "--quiet", "--allow-empty", "--all", "-m", "A change")


def measure(name: str, folder: Path) -> Measured:
    """Runs a situation in a folder of its own."""
    if name == "night":  # that of an earlier commit would stay: a cache is never written again
        shutil.rmtree(KEPT / "caches", ignore_errors=True)
    situation, clone = SITUATIONS[name], Repository(folder / "repository")
    clone.change(situation)
    payload: dict[str, Any] = {"repository": repository(), "schedule": "17 3 * * 1-6"}
    if situation.event != "schedule":
        payload = pull_request(clone) if situation.event == "pull_request" else pushed(clone)
    with ExitStack() as stack:
        github = stack.enter_context(fake_github(FakeGitHub()))
        environment = {"GITHUB_API_URL": github.url, "GITHUB_REPOSITORY": REPOSITORY, "GITHUB_RUN_ID": "500"}
        if name == "quiet":
            last = {"head_sha": clone.head, "conclusion": "success"}
            github.more["/actions/workflows/nightly.yml/runs"] = {"workflow_runs": [last]}
        variables = {}
        if situation.event != "pull_request":  # the night collects what the store has too much of
            variables["SLUICE_ARTEFACTS"] = stack.enter_context(store_under_test("registry", folder)).address
        event = folder / "event.json"
        event.write_text(json.dumps(payload))
        words = [
            str(ACT),
            situation.event,
            "--json",
            "--no-cache-server",
            "-W",
            f".github/workflows/{situation.workflow}",
        ]
        words += ["-P", f"{RUNNER}=-self-hosted", "-e", str(event), "--concurrent-jobs", "1", "--defaultbranch", "main"]
        for option, values in (
            ("--env", environment),
            ("--secret", {"GITHUB_TOKEN": WRITER}),
            ("--var", variables),
            ("--local-repository", stubs(clone.root, situation.workflow)),
        ):
            words += [word for key, value in values.items() for word in (option, f"{key}={value}")]
        return watch(words, clone.root, surroundings(folder), KEPT / f"{name}.log", Measured(clone.base[:12]))


def surroundings(place: Path) -> dict[str, str]:
    """This process's variables without those of GitHub and of its environment; a HOME with the machine's caches."""
    programs, home = place / "programs", place / "home"
    for path in (programs, home / ".cache", place / "tmp", KEPT / "caches"):
        path.mkdir(parents=True, exist_ok=True)
    make = programs / "make"
    make.write_text(_MAKE.format(make=shutil.which("make")))
    make.chmod(0o755)
    (programs / "gh").symlink_to(HERE / "played" / "gh")
    for cache in ("uv", "pip", "sluice", "pre-commit"):
        if (real := Path.home() / ".cache" / cache).is_dir():
            (home / ".cache" / cache).symlink_to(real)
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("GITHUB_", "VIRTUAL_ENV"))}
    own = [part for part in kept["PATH"].split(os.pathsep) if Path(part) != VENV / "bin"]
    return {
        **kept,
        "PATH": os.pathsep.join([str(programs), *own]),
        "HOME": str(home),
        "TMPDIR": str(place / "tmp"),
        "PLAYED_PLACE": str(place),
        "PLAYED_VENV": str(VENV),
        "PLAYED_TOOLS": str(HERE / "played"),
        "PLAYED_CACHES": str(KEPT / "caches"),
    }


def watch(words: list[str], root: Path, environment: Mapping[str, str], log: Path, found: Measured) -> Measured:
    """Runs act, and takes the time of each job from its first line to its result."""
    process = subprocess.Popen(
        words, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    began: dict[str, float] = {}
    workflow = load(root / words[words.index("-W") + 1])["name"]
    try:
        assert process.stdout is not None
        with log.open("w") as stream:
            for line, now in ((line, time.monotonic()) for line in process.stdout):
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                path = " ".join(event.get("job", "").split()).split("/")
                stream.write(f"[{'/'.join(path)}] {event.get('msg', '').rstrip()}\n")
                stream.flush()
                job = event.get("jobID", "") if path[0] == workflow else path[0]
                if job and event.get("jobID"):
                    began.setdefault(job, now)
                if "jobResult" in event:
                    found.seconds[job], found.results[job] = now - began[job], event["jobResult"]
                    print(f"  {job}: {event['jobResult']} after {now - began[job]:.0f} s", flush=True)
                if job == "eval" and event.get("step") == "Comment" and "stepResult" in event:
                    found.comment = now - began[job]
        found.status = process.wait()
    finally:
        end_session(process.pid)
    return found


def wall(workflow: str, seconds: Mapping[str, float], job: str) -> float:
    """Seconds until a job has ended, where each begins as soon as what it needs has ended."""
    needs = load(ROOT / ".github" / "workflows" / workflow)["jobs"][job].get("needs", [])
    before = [needs] if isinstance(needs, str) else needs
    return max((wall(workflow, seconds, one) for one in before), default=0.0) + seconds.get(job, 0.0)


def figures(name: str, measured: Measured) -> Iterator[tuple[str, str, str]]:
    """(what, minutes, the most that it may be) for each limit of a situation."""
    situation, seconds = SITUATIONS[name], measured.seconds
    for limit in situation.limits:
        if limit.what == "sum":
            what, value = "all jobs together", sum(seconds.values())
        elif limit.what == "comment":
            what, value = "until the comment", wall(situation.workflow, seconds, "plan") + measured.comment
        else:
            what, value = f"until `{limit.job}` has ended", wall(situation.workflow, seconds, limit.job)
        yield what, f"{value / 60:.1f}", f"{limit.minutes:g}"


def shares(workflow: str, seconds: Mapping[str, float]) -> Iterator[tuple[str, str, str, str]]:
    """(job, minutes, its time limit, share of it) for each job; a called workflow has the limits of its own jobs."""
    jobs = load(ROOT / ".github" / "workflows" / workflow)["jobs"]
    for name, took in seconds.items():
        called = jobs[name].get("uses")
        inner = load(ROOT / called)["jobs"].values() if called else [jobs[name]]
        limit = min(float(job["timeout-minutes"]) for job in inner)
        yield f"`{name}`", f"{took / 60:.1f}", f"{limit:g}", f"{took / 60 / limit:.0%}"


def kept_rows() -> dict[str, Any]:
    return json.loads(ROWS.read_text()) if ROWS.exists() else {}


def measured_before(name: str) -> Measured | None:
    row = kept_rows().get(name)
    return Measured(**row) if row else None


def keep(name: str, measured: Measured) -> None:
    rows = kept_rows()
    rows[name] = json.loads(json.dumps(vars(measured)), parse_float=lambda text: round(float(text), 1))
    ROWS.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")


def show() -> None:
    rows: list[tuple[str, ...]] = []
    jobs: list[tuple[str, ...]] = []
    for name, situation in SITUATIONS.items():
        if measured := measured_before(name):
            bad = ", ".join(f"`{job}`" for job, result in measured.results.items() if result != "success")
            rows += [(name, *row, bad or "none", measured.commit) for row in figures(name, measured)]
            jobs += [(name, *row) for row in shares(situation.workflow, measured.seconds)]
    head = ("situation", "what", "minutes", "at most", "jobs that failed", "commit")
    print(table(head, rows), end="\n\n")
    print(table(("situation", "job", "minutes", "its time limit", "share of the limit, at most 67 %"), jobs))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("situations", nargs="*", choices=[*SITUATIONS, []])
    parser.add_argument("--again", action="store_true", help="measure what was measured for this commit, too")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    git = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in chosen.situations or SITUATIONS:
        before = measured_before(name)
        if chosen.again or not before or before.commit != commit:
            print(f"{name}, its log is {KEPT / name}.log:", flush=True)
            with tempfile.TemporaryDirectory(prefix="sluice-minutes-") as folder:
                keep(name, measure(name, Path(folder)))
        show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
