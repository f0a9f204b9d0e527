"""A fleet: bare repositories with real git, made by a script, behind a fake GitHub.

Paths, fields and their types are those of GitHub's OpenAPI description for the REST API 2022-11-28 as of 2026-10-21
(githubkit-schemas-2022-11-28 26.10.21 is made of it): repos/get (full-repository), repos/get-branch
(branch-with-protection), git/list-matching-refs (git-ref), issues/list-for-repo (issue), issues/list-comments
(issue-comment), dependabot/list-alerts-for-repo (dependabot-alert), checks/list-for-ref (check-run), pulls/list and
pulls/create (pull-request). A repository that was renamed answers 301 with its address by number (docs.github.com, Best
practices, Follow redirects); an archived one is read-only (docs.github.com, Archiving repositories).
"""

import json
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from sluice.extras.fleet.fleet_file import FleetFile
from support.git import git
from unit.github.fake_github import APP, LOGINS, READER, REPOSITORY, WRITER, FakeGitHub
from unit.github.fake_repository import answer_pulls
from unit.template.conftest import PROJECT, Template, blobs, commit, lines, write

BOT = LOGINS[WRITER]
CI, METRIC = ".github/workflows/ci.yml", "engine/src/sluice/evaluation/metrics/digits.py"
MANIFEST = "engine/k8s/base/service.yaml"
_GATE = "  - {{name: {0}, stage: {1}, metric: {2}, direction: {3}, limit: {4}, {6}, min_samples: {5}}}\n"
_VALUE = "relative_to: none, compare: value"
_COMPARISON = """\
comparison:
  confidence: 0.99
  metrics:
    f1: {decides: always, smallest: 0.02}
    tokens: {smallest_ratio: 0.05}
"""
GATES = (
    "gates:\n"
    + _GATE.format("recall", "evaluation", "recall", "at_least", 0.8, 20, _VALUE)
    + _GATE.format("errors", "load", "error_rate", "at_most", 0.01, 10, _VALUE)
    + _COMPARISON
)
_FILES: dict[str, str | None] = {
    "config/gates.yaml": GATES,
    "engine/src/sluice/__init__.py": "",
    **{f"engine/src/sluice/extras/{name}/__init__.py": "" for name in ("datakit", "guard", "notebook")},
    "engine/requirements/serve.txt": "jinja2==3.1.2 \\\n    --hash=sha256:00\nrequests[socks]==2.30.0\n",
    "k8s/base/rollout.yaml": "kind: Rollout\n",
}


def make_template(folder: Path) -> Template:
    """Versions 0.1.0, 0.2.0 and 0.3.0, which change the engine and what OWNED lists."""
    template = Template(folder)
    git(folder, "tag", "--delete", "v0.1.0")
    template.release("0.1.0", _FILES)
    template.release("0.2.0", {METRIC: "A = 2\n", CI: lines(1, 20, l2="second")})
    newer = "jinja2==3.1.6 \\\n    --hash=sha256:00\nrequests[socks]==2.30.0\n"
    files: dict[str, str | None] = {METRIC: "A = 3\n", CI: lines(1, 20, l2="third"), MANIFEST: "kind: Service # 3\n"}
    template.release("0.3.0", {**files, "engine/requirements/serve.txt": newer})
    return template


@dataclass
class FakeProject:
    """`status`: what every request is answered with, where it is not 0. `checks` and `comments`: by commit and by
    number of a pull request."""

    name: str
    bare: Path
    facts: dict[str, Any] = field(default_factory=dict)
    protected: bool = True
    status: int = 0
    issues: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] | None = None
    pulls: list[dict[str, Any]] = field(default_factory=list)
    checks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    condenses: bool = False

    def __post_init__(self) -> None:
        number = int.from_bytes(self.name.encode()[-6:], "big")
        about = {"full_name": self.name, "default_branch": "main", "archived": False, "disabled": False, "id": number}
        self.facts = {**about, "url": "", **self.facts}

    @property
    def head(self) -> str:
        return git(self.bare, "rev-parse", "refs/heads/main")

    def files(self, ref: str) -> dict[str, str]:
        return blobs(self.bare, ref)

    def proposed(self, pull: Mapping[str, Any]) -> str:
        """Return the commit of a pull request: that of its branch as it is."""
        return git(self.bare, "rev-parse", f"refs/heads/{pull['head']}")

    def judge(self, conclusion: str | None, *, comment: str = "") -> None:
        pull, commit = self.pulls[-1], self.proposed(self.pulls[-1])
        run = {
            "id": 1,
            "name": "required",
            "head_sha": commit,
            "status": "completed" if conclusion else "in_progress",
            "conclusion": conclusion,
            "html_url": f"{pull['html_url']}/checks",
            "app": {"slug": "github-actions"},
        }
        self.checks[commit] = [run]
        if comment:
            about = {"id": 7, "body": comment, "user": {"login": BOT}, "html_url": pull["html_url"]}
            self.comments[pull["number"]] = [about]


@dataclass
class FakeFleet(FakeGitHub):
    """`projects` by name; the repository of the platform team itself is that of FakeGitHub."""

    projects: dict[str, FakeProject] = field(default_factory=dict)
    writing: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        found = re.match(r"/repos/([^/]+/[^/?]+)([^?]*)\??(.*)", path)
        if by_number := re.match(r"/repositories/(\d+)([^?]*)\??(.*)", path):
            project = next(one for one in self.projects.values() if one.facts["id"] == int(by_number[1]))
            return self._of(project, method, by_number[2], dict(parse_qsl(by_number[3])), token, body)
        if not found or found[1] == REPOSITORY or token not in LOGINS:
            return super().answer(method, path, token, body)
        if found[1] not in self.projects:
            return 404, {"message": "Not Found"}
        project = self.projects[found[1]]
        if project.status:
            return project.status, {"message": f"planned {project.status}"}
        if moved := project.facts.get("moved_to"):
            number = self.projects[moved].facts["id"]
            return 301, {"message": "Moved Permanently", "url": f"{self.url}/repositories/{number}{found[2]}"}
        return self._of(project, method, found[2], dict(parse_qsl(found[3])), token, body)

    def _of(
        self, project: FakeProject, method: str, place: str, query: Mapping[str, str], token: str, body: Any
    ) -> tuple[int, Any]:
        if method != "GET" and (token == READER or project.facts["archived"]):
            return 403, {"message": "Resource not accessible"}
        if place.startswith("/pulls"):
            with self.writing:
                status, answer = answer_pulls(project.pulls, project.name, self.url, method, place, query, body)
            if method == "GET":
                answer = [{**one, "head": {"ref": one["head"], "sha": project.proposed(one)}} for one in answer]
            return status, answer
        if place == "":
            return 200, {**project.facts, "url": f"{self.url}/repos/{project.name}"}
        if place.startswith("/branches/"):
            return 200, {"name": "main", "commit": {"sha": project.head}, "protected": project.protected}
        if place.startswith("/git/matching-refs/"):
            below = place.removeprefix("/git/matching-refs/")
            listed = git(
                project.bare, "for-each-ref", "--format=%(refname) %(objectname)", f"refs/{below}"
            ).splitlines()
            return 200, [{"ref": one.split()[0], "object": {"type": "commit", "sha": one.split()[1]}} for one in listed]
        if place == "/issues":
            wanted = [one for one in project.issues if one["user"]["login"] == query.get("creator", BOT)]
            return 200, [one for one in wanted if one["state"] == query["state"]]
        if place == "/dependabot/alerts":
            if project.alerts is None:
                return 403, {"message": "Dependabot alerts are disabled for this repository."}
            return 200, [one for one in project.alerts if one["state"] == query["state"]]
        if found := re.fullmatch(r"/issues/(\d+)/comments", place):
            return 200, project.comments.get(int(found[1]), [])
        if found := re.fullmatch(r"/commits/([0-9a-f]{40})/check-runs", place):
            runs = [one for one in project.checks.get(found[1], []) if one["name"] == query["check_name"]]
            return 200, {"total_count": len(runs), "check_runs": runs}
        return 404, {"message": "Not Found"}

    def environment(self, servers: Path) -> dict[str, str]:
        return {
            "GITHUB_API_URL": self.url,
            "GITHUB_SERVER_URL": servers.as_uri(),
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": "500",
            "GITHUB_TOKEN": APP,
        }


OWN: tuple[dict[str, str | None], ...] = (
    {"prompts/summary.prompt.yml": "name: summary\n", "prompts/one.prompt.yml": "name: one, ours\n"},
    {"src/assistant/metrics/own.py": "METRIC = 1\n"},
    {"src/assistant/guardrails/colours.py": "CHECK = 1\n"},
    {"src/assistant/tools.py": "TOOL = 1\n"},
    {"src/assistant/routes.py": "ROUTER = 1\n"},
    {"k8s/overlays/actual/kustomization.yaml": "namespace: ours\n", "k8s/base/rollout.yaml": "kind: Rollout # ours\n"},
    {".github/workflows/own.yml": "name: own\n", "README.md": "# Ours\n"},
)
EDITS: tuple[dict[str, str | None], ...] = (
    {METRIC: "A = 'mine'\n"},
    {MANIFEST: "kind: Service # mine\n"},
    {CI: lines(1, 20, l2="second", l19="mine")},
)


class ProjectFactory:
    def __init__(self, template: Template, folder: Path) -> None:
        self.template, self.servers, self._work = template, folder / "servers", folder / "work"

    def make(
        self, name: str, version: str, files: dict[str, str | None], *, without: tuple[str, ...] = ()
    ) -> FakeProject:
        shutil.rmtree(self._work, ignore_errors=True)
        self.template.give(f"v{version}", self._work)
        own = PROJECT.replace("quarry", name.partition("/")[2]) + "template: {repository: octo/template}\n"
        write(self._work, {"config/project.yaml": own + (f"without: [{', '.join(without)}]\n" if without else "")})
        commit(self._work, "Ours", files)
        bare = self.servers / f"{name}.git"
        git(self._work, "init", "--quiet", "--bare", "--initial-branch", "main", str(bare))
        git(self._work, "push", "--quiet", str(bare), "main")
        return FakeProject(name, bare)

    def ten(self) -> Iterator[FakeProject]:
        """Make projects with own parts; three edit the engine: two engine/, one a file of OWNED that merges."""
        for number in range(10):
            files = dict(OWN[number % len(OWN)]) | {f"docs/{number}.md": f"{number}\n"}
            files |= EDITS[number - 7] if number >= 7 else {}
            without = ("notebook",) if number == 4 else ()
            made = self.make(f"octo/app-{number}", "0.1.0" if 2 <= number < 7 else "0.2.0", files, without=without)
            made.condenses = number == 3
            yield made


@dataclass
class Fleet:
    github: FakeFleet
    factory: ProjectFactory
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return self.github.environment(self.factory.servers)

    def file(self, first: int = 99, **rules: Any) -> FleetFile:
        names = list(self.github.projects)
        rings = ["first"] * first + ["early"] * 3 * first + ["rest"] * len(names)
        listed = [
            {"repository": name, "owners": ["@octo/team"], "ring": ring}
            for name, ring in zip(names, rings, strict=False)
        ]
        used = list(dict.fromkeys(rings[: len(names)]))
        template = str(self.factory.template.root)
        return FleetFile.model_validate({"template": template, "rings": used, "projects": listed, "rules": rules})

    def add(self, project: FakeProject) -> FakeProject:
        self.github.projects[project.name] = project
        return project

    def small(self, count: int) -> None:
        for number in range(count):
            self.add(self.factory.make(f"octo/app-{number}", "0.2.0", {f"docs/{number}.md": "ours\n"}))

    def enter(self, monkeypatch: pytest.MonkeyPatch, file: FleetFile) -> None:
        """The folder of fleet.yaml, with the variables of a run."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(self.folder)
        Path("fleet.yaml").write_text(json.dumps(file.model_dump(mode="json", exclude_none=True)))
