"""Runs of GitHub Actions and their artifacts, served over HTTP as GitHub serves them.

Paths, queries and fields are those that PyGithub 2.10.0 asks for and reads (Workflow.get_runs, WorkflowRun, Artifact,
Repository.get_artifacts, Repository.get_collaborator_permission), whose classes name the schemas of GitHub's OpenAPI
description. docs.github.com, REST API 2022-11-28, Actions (Artifacts, Workflow runs): an archive is a redirect to
another host, `created` takes `>=`, a run in progress is not run again, and a run that is has another attempt; Pulls:
`head` is `user:branch`; Commits: `behind` is an ancestor of what it is compared with. The permission of an app is 404,
"is not a user": anthropics/claude-code-action#1018. Without a failed job, a run "cannot be retried", but a job can be
run again: metabase/metabase#70916 and docs.github.com, "Re-running workflows and jobs".
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from unit.github.fake_github import REPOSITORY, WRITER, FakeGitHub, fake_github

PLACE = f"/repos/{REPOSITORY}"
TOKEN = WRITER
WORKFLOWS = {"answer-requests.yml": 11, "ci.yml": 12}


def archive(**files: bytes) -> bytes:
    """A zip of files; `__` in a name stands for the dot."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name.replace("__", "."), content)
    return written.getvalue()


@dataclass
class ActionsApi(FakeGitHub):
    """`archives`: (run, name) -> zip, redirected to this server under another name. `reserved`: (run, attempt).
    `of_main`: commits of the default branch."""

    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    archives: dict[tuple[int, str], bytes] = field(default_factory=dict)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    reserved: set[tuple[int, int]] = field(default_factory=set)
    of_main: set[str] = field(default_factory=lambda: {"a" * 40})
    writers: set[str] = field(default_factory=lambda: {"octocat"})
    again: list[int] = field(default_factory=list)
    tokens_at_storage: list[str | None] = field(default_factory=list)

    @property
    def storage(self) -> str:
        return self.url.replace("127.0.0.1", "localhost")

    def add_run(
        self, number: int, workflow: str = "ci.yml", *, branch: str = "change", **changes: Any
    ) -> dict[str, Any]:
        repository = {"id": 1, "name": "app", "full_name": REPOSITORY, "owner": {"login": "octo"}}
        self.runs[number] = {
            "id": number,
            "path": f".github/workflows/{workflow}",
            "event": "pull_request" if workflow == "ci.yml" else "workflow_run",
            "status": "completed",
            "conclusion": "failure" if workflow == "ci.yml" else "success",
            "head_branch": branch,
            "head_repository": repository,
            "run_attempt": 1,
            "actor": {"login": "octocat"},
            "created_at": "2026-01-01T10:00:00Z",
            "head_sha": "a" * 40,
            "workflow_id": WORKFLOWS.get(workflow, 13),
            "url": f"{self.url}{PLACE}/actions/runs/{number}",
            "artifacts_url": f"{self.url}{PLACE}/actions/runs/{number}/artifacts",
            "rerun_url": f"{self.url}{PLACE}/actions/runs/{number}/rerun",
            "jobs_url": f"{self.url}{PLACE}/actions/runs/{number}/jobs",
            **changes,
        }
        return self.runs[number]

    def add_pull(self, opener: str, owner: str, branch: str = "change") -> None:
        repository = {"full_name": f"{owner}/app"}
        self.pulls.append({"user": {"login": opener}, "head": {"label": f"{owner}:{branch}", "repo": repository}})

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        if found := re.fullmatch(r"/storage/(\d+)", path):
            self.tokens_at_storage.append(token or None)
            return 200, list(self.archives.values())[int(found[1])]
        if token != TOKEN:
            return 401, {"message": "Bad credentials"}
        if found := re.fullmatch(rf"{PLACE}/actions/artifacts/(\d+)/zip", path):
            return 302, {"url": f"{self.storage}/storage/{found[1]}"}
        status, value = self._of_actions(method, path)
        return super().answer(method, path, token, body) if status == 404 else (status, value)

    def _of_actions(self, method: str, target: str) -> tuple[int, Any]:
        parts = urlsplit(target)
        place, query = parts.path.removeprefix(PLACE), {key: one[0] for key, one in parse_qs(parts.query).items()}
        if place == "":
            return 200, {"id": 1, "full_name": REPOSITORY, "default_branch": "main", "url": f"{self.url}{PLACE}"}
        if found := re.fullmatch(r"/actions/workflows/([\w.-]+)/runs", place):
            return 200, {"total_count": 0, "workflow_runs": self._listed(WORKFLOWS[found[1]], query)}
        if (found := re.fullmatch(r"/actions/runs/(\d+)", place)) and int(found[1]) in self.runs:
            return 200, self.runs[int(found[1])]
        if found := re.fullmatch(r"/actions(?:/runs/(\d+))?/artifacts", place):
            return 200, {"total_count": 0, "artifacts": self._artifacts(found[1], query.get("name"))}
        if found := re.fullmatch(r"/actions/runs/(\d+)/jobs", place):
            return 200, {"total_count": 0, "jobs": self._jobs(self.runs[int(found[1])])}
        if method == "POST" and (found := re.fullmatch(r"/actions/(?:jobs|runs)/(\d+)/rerun(-failed-jobs)?", place)):
            run = self.runs[int(found[1])]
            if run["status"] != "completed" or (found[2] and run["conclusion"] == "success"):
                return 403, {"message": "This workflow run cannot be retried"}
            self.again.append(run["id"])
            run["asked_again"] = "jobs" if "/jobs/" in place else found[2] or "all"
            run["run_attempt"] += 1
            return 201, {}
        if place == "/branches/main":
            return 200, {"name": "main", "commit": {"sha": min(self.of_main)}}
        if found := re.fullmatch(r"/compare/\w+\.\.\.(\w+)", place):
            return 200, {"status": "behind" if found[1] in self.of_main else "diverged"}
        if place == "/pulls":
            return 200, [pull for pull in self.pulls if f"{pull['head']['label']}" == query["head"]]
        if found := re.fullmatch(r"/collaborators/([\w-]+)/permission", place):
            return 200, {"permission": "write" if found[1] in self.writers else "read"}
        if re.fullmatch(r"/collaborators/[\w%-]+/permission", place):
            return 404, {"message": f"{place} is not a user"}
        return 404, {"message": "Not Found"}

    def _listed(self, workflow: int, query: dict[str, str]) -> list[dict[str, Any]]:
        since = query.get("created", ">=").removeprefix(">=")
        found = [run for run in self.runs.values() if run["workflow_id"] == workflow and run["created_at"] >= since]
        asked = [name for name in ("branch", "head_sha") if name in query]
        named = {"branch": "head_branch", "head_sha": "head_sha"}
        return [run for run in reversed(found) if all(run[named[name]] == query[name] for name in asked)]

    def _jobs(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """Those of ci.yml, whose plan `retitled` runs skip, and of answer-requests.yml."""
        if "jobs" in run:
            return list(run["jobs"])
        reserved = [attempt for number, attempt in self.reserved if number == run["id"]]
        steps = [{"name": "Reserve the money", "conclusion": "success"}]
        made = {"url": f"{self.url}{PLACE}/actions/jobs/{run['id']}", "conclusion": run["conclusion"], "steps": []}
        found = [{**made, "name": name} for name in ("eval", "required")]
        found += [{**made, "name": "answer", "run_attempt": attempt, "steps": steps} for attempt in reserved]
        return [*found, {**made, "name": "plan", "conclusion": "skipped" if run.get("retitled") else "success"}]

    def _artifacts(self, number: str | None, named: str | None = None) -> list[dict[str, Any]]:
        return [
            {
                "id": index,
                "name": name,
                "size_in_bytes": len(raw),
                "expired": False,
                "digest": f"sha256:{hashlib.sha256(raw).hexdigest()}",
                "archive_download_url": f"{self.url}{PLACE}/actions/artifacts/{index}/zip",
                "workflow_run": {"id": run, "head_branch": self.runs[run]["head_branch"]},
            }
            for index, ((run, name), raw) in enumerate(self.archives.items())
            if number in (None, str(run)) and named in (None, name)
        ]

    def environment(self, number: int, **more: str) -> dict[str, str]:
        return {
            "GITHUB_API_URL": self.url,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_RUN_ID": str(number),
            "GITHUB_RUN_ATTEMPT": "1",
            **more,
        }


@contextmanager
def actions_api() -> Iterator[ActionsApi]:
    with fake_github(ActionsApi()) as api:
        yield api


def in_this_process(patch: pytest.MonkeyPatch, api: Callable[[], ActionsApi]) -> None:
    """What is sent to the API reaches it without a socket, which is what most of a request's time would go to."""

    def send(_: Any, request: Any, **__: Any) -> requests.Response:
        answer, sent = requests.Response(), urlsplit(request.url)
        token = request.headers.get("Authorization", "").rpartition(" ")[2]
        body = json.loads(request.body) if request.body else None
        path = f"{sent.path}?{sent.query}" if sent.query else sent.path
        answer.status_code, value = api().answer(request.method, path, token, body)
        answer.raw = io.BytesIO(value if isinstance(value, bytes) else json.dumps(value).encode())
        answer.url, answer.request = request.url, request
        answer.headers["Content-Type"] = "application/json"
        if answer.status_code == 302:
            answer.headers["Location"] = value["url"]
        return answer

    patch.setattr("requests.adapters.HTTPAdapter.send", send)
    for name in ("get_environ_proxies", "should_bypass_proxies"):  # each request would look through the environment
        patch.setattr(f"requests.sessions.{name}", lambda *_, **__: {})
    patch.setattr("github.Requester.Requester._Requester__deferRequest", lambda *_: None)  # its pauses between requests
