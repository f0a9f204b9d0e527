"""Runs a workflow of .github/ with act, without Docker and without the network: actions are played by `actions/`."""

import json
import os
import re
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

HERE = Path(__file__).resolve().parent
VENV = Path(sys.executable).parents[1]
ACT = VENV / "bin" / "act"
RUNNER, MAC = "ubuntu-24.04", "macos-15"
# A hang guard, far from what a run takes.
LIMIT_S = 3000
KILLED = -signal.SIGKILL
# Programs that steps and what is played start by their names.
_TOOLS = ("bash", "git", "make", "python3", "sha256sum")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOWHERE = "http://127.0.0.1:9"


@dataclass
class Job:
    """`ran`: the result of each step that began (`None` if cut off), by id or index. `outputs` by `step.name`."""

    name: str
    id: str
    result: str | None = None
    ran: dict[str, str | None] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    log: str = ""


@dataclass
class Run:
    """A run as act reports it, by names of jobs."""

    status: int
    jobs: dict[str, Job]
    log: str

    def job(self, name: str) -> Job:
        """The only job of this id or end of a name."""
        found = [one for one in self.jobs.values() if name in (one.id, one.name) or one.name.endswith(f"/{name}")]
        assert len(found) == 1, f"{name}: {[one.name for one in found]} of {list(self.jobs)}\n{self.log}"
        return found[0]

    @property
    def results(self) -> dict[str, str | None]:
        return {one.name: one.result for one in self.jobs.values()}

    @property
    def outputs(self) -> dict[str, dict[str, str]]:
        return {one.name: one.outputs for one in self.jobs.values() if one.outputs}

    @property
    def summary(self) -> str:
        return "".join(one.summary for one in self.jobs.values())


@dataclass(frozen=True)
class Runner:
    """What stays the same from run to run. Steps may write to `home`; stubs keep artifacts and notes in `place`."""

    root: Path
    home: Path
    place: Path
    environment: Mapping[str, str]

    def run(
        self,
        workflow: str,
        event: str,
        payload: Mapping[str, Any],
        *,
        secrets: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        environment: Mapping[str, str],
        actor: str = "octocat",
        jobs_at_once: int = 2,
    ) -> Run:
        shutil.rmtree(self.home, ignore_errors=True)
        for folder in (self.home / "tmp", self.place):
            folder.mkdir(parents=True, exist_ok=True)
        for name in ("made", "touched"):
            (self.place / name).write_text("")
        written = self.home / "event.json"
        written.write_text(json.dumps(payload))
        environment = {**self.environment, **environment}
        words = [str(ACT), event, "--json", "-W", f".github/workflows/{workflow}", "--no-cache-server"]
        words += ["-P", f"{RUNNER}=-self-hosted", "-P", f"{MAC}=-self-hosted", "-e", str(written), "--actor", actor]
        words += ["--concurrent-jobs", str(jobs_at_once), "--defaultbranch", "main"]
        for option, values in (
            ("--env", environment),
            ("--secret", secrets or {}),
            ("--var", variables or {}),
            ("--local-repository", stubs(self.root, workflow)),
        ):
            words += [word for name, value in values.items() for word in (option, f"{name}={value}")]
        return self._watch(words)

    def _watch(self, words: list[str]) -> Run:
        process = subprocess.Popen(
            words,
            cwd=self.root,
            env=self._surroundings(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        guard = threading.Timer(LIMIT_S, end_session, (process.pid,))
        guard.start()
        try:
            assert process.stdout is not None
            lines = list(process.stdout)
            status = process.wait()
        finally:
            guard.cancel()
            end_session(process.pid)  # what a killed run has left
        return read(lines, status)

    def _surroundings(self) -> dict[str, str]:
        make = shutil.which("make") or "make"
        tools = {str(Path(found).parent) for name in _TOOLS if (found := shutil.which(name))}
        path = os.pathsep.join([str(HERE / "played"), *sorted(tools), "/usr/bin", "/bin"])
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        return {
            "PATH": path,
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "LANG": "C.UTF-8",
            "PLAYED_PLACE": str(self.place),
            "PLAYED_VENV": str(VENV),
            "PLAYED_MAKE": make,
            "PLAYED_TOOLS": str(HERE / "played"),
            "no_proxy": "127.0.0.1,localhost",
            **dict.fromkeys(names, _NOWHERE),
        }


def end_session(leader: int) -> None:
    """Kill act and all that its steps have started: groups of their own in its session."""
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == leader:
                os.kill(process.pid, signal.SIGKILL)


def stubs(root: Path, workflow: str) -> dict[str, str]:
    """Map every remote action that a workflow reaches to the folder that plays it."""
    found = {}
    for path in files(root, workflow):
        for owner, name, ref in re.findall(r"\buses:\s*([\w.-]+)/([\w.-]+)(?:/[\w./-]+)?@(\w+)", path.read_text()):
            if (owner, name) != ("actions", "checkout"):  # act does that one itself
                stub = HERE / "actions" / name
                assert stub.is_dir(), f"{path.name} uses {owner}/{name}, which nothing in {stub.parent} plays"
                found[f"{owner}/{name}@{ref}"] = str(stub)
    return found


def files(root: Path, workflow: str) -> set[Path]:
    """A workflow's file and every workflow and composite action of the repository that it reaches."""
    reached, waiting = set(), [root / ".github" / "workflows" / workflow]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            named = [root / place for place in re.findall(r"\buses:\s*\./(\S+)", path.read_text())]
            waiting += [place if place.suffix == ".yml" else place / "action.yml" for place in named]
    return reached


def read(lines: Iterable[str], status: int) -> Run:
    jobs: dict[str, Job] = {}
    said: list[str] = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            said.append(line.rstrip())
            continue
        if event.get("msg", "").startswith("LocalRepositoryCache"):
            continue
        words = event.get("msg", "").rstrip("\n")
        name = " ".join(event.get("job", "").split())
        said.append(f"[{name}] {words}" if name else words)
        if name:
            _note(jobs.setdefault(name, Job(name, event["jobID"])), event, words)
    log = "\n".join(said)
    print(log)  # pytest shows it when a test fails
    return Run(status, jobs, log)


def _note(job: Job, event: Mapping[str, Any], words: str) -> None:
    key = "/".join(event.get("stepID", ()))
    job.result = event.get("jobResult", job.result)
    if event.get("raw_output"):
        job.log += words + "\n"
    elif event.get("command") == "set-output":
        job.outputs[f"{key}.{event['name']}"] = event["arg"]
    elif event.get("command") == "summary":
        job.summary += event["content"]
    elif event.get("stage") == "Main" and words.startswith("⭐ Run Main"):
        job.ran[key] = None
    elif event.get("stage") == "Main" and "stepResult" in event and key in job.ran:
        job.ran[key] = event["stepResult"]


def load(path: Path) -> dict[Any, Any]:
    return yaml.load(path.read_text(), _Loader)


@contextmanager
def opened(may_begin: Callable[[str], bool]) -> Iterator[dict[str, str]]:
    """A gate before every step. Where `may_begin` says no, the machine dies at once, without `if: always()`."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked = self.rfile.readline().decode().strip()
            self.wfile.write(b"go\n" if may_begin(asked) else b"die\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield {"BASH_ENV": str(HERE / "played" / "gate.sh"), "PLAYED_GATE": str(server.server_address[1])}
        finally:
            server.shutdown()
            thread.join()
