"""Comments of a pull request, issues and releases of its repository, served over HTTP as GitHub serves them.

Paths, queries and fields are those that PyGithub 2.10.0 asks for and reads, whose classes name the schemas of GitHub's
OpenAPI description that they are of. Statuses, messages and limits: docs.github.com, REST API 2022-11-28 (Issues,
Comments, Releases, Release assets, Pagination, Rate limits, Troubleshooting); that a token of an App may not ask for
its own user: the same, Users; that its `viewer` in GraphQL is the App's bot: fullsend-ai/fullsend#1953, seen there on
2026-06-05. That question is beside what a test is about: it is not in `asked`, and no planned answer is for it.

Tags and releases on commits whose workflow files differ from the default branch's are refused to tokens without the
right `workflows`, which GITHUB_TOKEN cannot have: "this endpoint returns 404 Not Found; some authentication paths
surface 403 Resource not accessible by integration instead" (REST API 2026-03-10, Releases: create, update), and 403
for a tag (mkb79/Audible#882, seen on 2026-07-23); chipsenkbeil/distant#284 saw 403 for every commit, HEAD too.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import pytest

from support.local_server import QuietHandler, local_server

REPOSITORY = "octo/app"
ISSUES = f"/repos/{REPOSITORY}/issues"
COMMENTS = f"{ISSUES}/7/comments"
# The words of these fake tokens say who they are.
WRITER, READER, PERSON, APP = "writer", "reader", "person", "installation"
LOGINS = {WRITER: "github-actions[bot]", READER: "github-actions[bot]", PERSON: "octocat", APP: "fleet-app[bot]"}


@dataclass
class FakeReleases:
    """`by_id`, each with its `assets`; `contents` of the files by (release id, name). `tags` have commits, and `plain`
    the files of commits without workflows; `refused` are commits whose workflows differ from the default branch's."""

    url: str = ""
    by_id: dict[int, dict[str, Any]] = field(default_factory=dict)
    contents: dict[tuple[int, str], bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    plain: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: Callable[[str], bool] = lambda _commit: False

    def refuses(self, commit: str) -> bool:
        return commit not in self.plain and self.refused(commit)

    def git(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Trees, commits and tags (REST API, Git database)."""
        kind, _, tag = unquote(urlsplit(path).path).removeprefix(f"/repos/{REPOSITORY}/git/").partition("/tags/")
        if kind == "matching-refs":
            return 200, [self._ref(name) for name in self.tags if name.startswith(tag)]
        if kind == "trees":
            files = {one["path"]: one["content"] for one in body["tree"]}
            return 201, {"sha": json.dumps(files), "url": f"{self.url}{path}"}
        if kind == "commits":
            assert body["parents"] == []
            sha = hashlib.sha1(f"{body}{len(self.plain)}".encode()).hexdigest()
            self.plain[sha] = json.loads(body["tree"])
            return 201, {"sha": sha, "url": f"{self.url}{path}"}
        tag = tag or body["ref"].removeprefix("refs/tags/")
        if self.refuses(body["sha"]):
            return 403, {"message": "Resource not accessible by integration"}
        if method == "POST" and tag in self.tags:
            return 422, {"message": "Reference already exists"}
        self.tags[tag] = body["sha"]
        return 201, self._ref(tag)

    def _ref(self, tag: str) -> dict[str, Any]:
        of = {"type": "commit", "sha": self.tags[tag]}
        return {"ref": f"refs/tags/{tag}", "url": f"{self.url}/repos/{REPOSITORY}/git/refs/tags/{tag}", "object": of}

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        base = f"/repos/{REPOSITORY}/releases"
        if method == "GET" and path.partition("?")[0] == base:
            return 200, list(reversed(self.by_id.values()))
        if method == "POST" and path == base:
            return self._create(body)
        if sent := re.fullmatch(rf"/uploads{base}/(\d+)/assets\?label=&name=([\w.-]+)", path):
            return self._upload(int(sent[1]), sent[2], body)
        if asset := re.fullmatch(rf"{base}/assets/(\d+)", path):
            return self._remove_asset(method, int(asset[1]))
        one = re.fullmatch(rf"{base}/(\d+)", path)
        if not one or int(one[1]) not in self.by_id:
            return 404, {"message": "Not Found"}
        if method == "DELETE":
            del self.by_id[int(one[1])]
            return 204, None
        if method == "PATCH":
            if self.refuses(self.tags[body["tag_name"]]):
                return 404, {"message": "Not Found"}
            self.by_id[int(one[1])].update(body)
        return 200, self.by_id[int(one[1])]

    def _create(self, body: Any) -> tuple[int, Any]:
        if self.refuses(self.tags.get(body["tag_name"], "")):
            return 404, {"message": "Not Found"}
        published = [one["tag_name"] for one in self.by_id.values() if not one["draft"]]
        if not body.get("draft") and body["tag_name"] in published:
            return 422, {"message": "Validation Failed", "errors": [{"code": "already_exists"}]}
        number = max(self.by_id, default=300) + 1
        place = f"/repos/{REPOSITORY}/releases/{number}"
        self.by_id[number] = {
            "draft": False,
            "prerelease": False,
            **body,
            "id": number,
            "assets": [],
            "url": f"{self.url}{place}",
            "html_url": f"https://github.invalid/{REPOSITORY}/releases/tag/{body['tag_name']}",
            "upload_url": f"{self.url}/uploads{place}/assets{{?name,label}}",
        }
        return 201, self.by_id[number]

    def _upload(self, release: int, name: str, content: bytes) -> tuple[int, Any]:
        if release not in self.by_id:
            return 404, {"message": "Not Found"}
        assets = self.by_id[release]["assets"]
        if name in [asset["name"] for asset in assets]:
            return 422, {"message": "Validation Failed", "errors": [{"code": "already_exists"}]}
        number = 9000 + len(self.contents)
        self.contents[release, name] = content
        url = f"{self.url}/repos/{REPOSITORY}/releases/assets/{number}"
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        facts = {"id": number, "url": url, "name": name, "state": "uploaded", "size": len(content), "digest": digest}
        assets.append(facts)
        return 201, assets[-1]

    def _remove_asset(self, method: str, number: int) -> tuple[int, Any]:
        for release in self.by_id.values():
            for asset in release["assets"]:
                if asset["id"] == number and method == "DELETE":
                    release["assets"].remove(asset)
                    return 204, None
        return 404, {"message": "Not Found"}


@dataclass
class FakeGitHub:
    """`comments` on pull request 7 by id, `issues` by number, each with its `comments`; `asked` has (method, path) of
    each request. `script`: answers to give before anything else, a (status, headers) for each request that matches the
    method; 0 closes the connection, and a header `message` is what it says. `before` runs at a request.
    `more`: answers to GET by the end of a path. `pauses`: what the client would have waited before it asked again,
    in seconds."""

    url: str = ""
    comments: dict[int, dict[str, Any]] = field(default_factory=dict)
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    releases: FakeReleases = field(default_factory=FakeReleases)
    more: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    script: list[tuple[str, int, dict[str, str]]] = field(default_factory=list)
    before: Callable[[str, str], None] = lambda _method, _path: None
    carried_out: bool = False
    pauses: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, body: str, login: str = "github-actions[bot]") -> int:
        with self.lock:
            number = max(self.comments, default=100) + 1
            self.comments[number] = {
                "id": number,
                "body": body,
                "user": {"login": login},
                "url": f"{self.url}{ISSUES}/comments/{number}",
                "html_url": f"{self._page('pull', 7)}#issuecomment-{number}",
            }
            return number

    def open(self, title: str, body: str, login: str = "github-actions[bot]", **more: Any) -> int:
        """Opens an issue; `pull_request={}` makes it a pull request."""
        with self.lock:
            number = max(self.issues, default=20) + 1
            self.issues[number] = {
                "id": number + 1000,
                "number": number,
                "title": title,
                "body": body,
                "state": "open",
                "user": {"login": login},
                "url": f"{self.url}{ISSUES}/{number}",
                "html_url": self._page("pull" if "pull_request" in more else "issues", number),
                "comments": [],
                **more,
            }
            return number

    def _page(self, kind: str, number: int) -> str:
        return f"https://github.invalid/{REPOSITORY}/{kind}/{number}"

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        """Status and JSON, as GitHub's documentation has them."""
        if token not in LOGINS:
            return 401, {"message": "Bad credentials"}
        if path == "/user":
            if token == PERSON:
                return 200, {"login": LOGINS[token]}
            return 403, {"message": "Resource not accessible by integration"}
        if path == "/graphql":
            return 200, {"data": {"viewer": {"login": LOGINS[token]}}}
        place, _, query = path.partition("?")
        if method == "GET" and place == f"/repos/{REPOSITORY}":
            return 200, {"full_name": REPOSITORY, "url": f"{self.url}{place}", "template_repository": None}
        if method == "GET" and place == COMMENTS:
            return 200, list(self.comments.values())
        for end, value in self.more.items():
            if method == "GET" and place.endswith(end):
                return 200, value
        if method == "GET" and place == f"{ISSUES}/7":
            return 200, {"number": 7, "url": f"{self.url}{ISSUES}/7", "html_url": self._page("pull", 7)}
        if method == "GET" and place == ISSUES and "state=open" in query:
            return 200, [issue for issue in reversed(self.issues.values()) if issue["state"] == "open"]
        if token == READER:
            return 403, {"message": "Resource not accessible by integration"}
        if path.startswith(f"/repos/{REPOSITORY}/git/"):
            return self.releases.git(method, path, body)
        if re.match(rf"(/uploads)?/repos/{REPOSITORY}/releases\b", path):
            return self.releases.answer(method, path, body)
        if method == "POST" and path == COMMENTS:
            if len(body["body"]) > 65_536:
                return 422, {"message": "Validation Failed"}
            return 201, self.comments[self.add(body["body"], LOGINS[token])]
        if issue := re.fullmatch(rf"{ISSUES}(?:/(\d+)(/comments)?)?", path):
            return self._issue(method, issue[1], bool(issue[2]), LOGINS[token], body)
        one = re.fullmatch(rf"{ISSUES}/comments/(\d+)", path)
        if not one or int(one[1]) not in self.comments:
            return 404, {"message": "Not Found"}
        comment = self.comments[int(one[1])]
        if comment["user"]["login"] != LOGINS[token]:
            return 403, {"message": "Must have admin rights to Repository."}
        if method == "PATCH":
            comment["body"] = body["body"]
            return 200, comment
        with self.lock:
            del self.comments[int(one[1])]
        return 204, None

    def _issue(self, method: str, number: str | None, commenting: bool, login: str, body: Any) -> tuple[int, Any]:
        """Opens one, comments on one, or changes one."""
        if len(body.get("body", "")) > 65_536 or len(body.get("title", "")) > 256:
            return 422, {"message": "Validation Failed"}
        if number is None:
            return 201, self.issues[self.open(body["title"], body["body"], login)]
        if int(number) not in self.issues:
            return 404, {"message": "Not Found"}
        issue = self.issues[int(number)]
        if commenting:
            issue["comments"].append(body["body"])
            return 201, {"id": 1, "body": body["body"]}
        assert method == "PATCH", method
        issue.update(body)
        return 200, issue


F = TypeVar("F", bound=FakeGitHub)


@contextmanager
def fake_github(fake: F) -> Iterator[F]:
    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body of an answer are two packets: no 40 ms between them

        def _serve(self) -> None:
            raw = self.body
            sent = self.headers.get("Content-Type") == "application/octet-stream"
            body = raw if sent else json.loads(raw) if raw else None
            token = (self.headers.get("Authorization") or "").rpartition(" ")[2]  # `token` or `Bearer` before it
            if self.path == "/graphql":
                self._send(*fake.answer(self.command, self.path, token, body), {})
                return
            fake.asked.append((self.command, self.path))
            fake.before(self.command, self.path)
            planned = next((step for step in fake.script if step[0] == self.command), None)
            if planned:
                fake.script.remove(planned)
                if fake.carried_out:
                    fake.answer(self.command, self.path, token, body)
                if planned[1] == 0:
                    self.close_connection = True
                    return
                self._send(planned[1], {"message": planned[2].pop("message", "planned")}, planned[2])
                return
            status, value = fake.answer(self.command, self.path, token, body)
            if status in (301, 302):
                self._send(status, value, {"Location": value["url"]})
            else:
                self._send(status, *self._paged(value))

        def _paged(self, value: Any) -> tuple[Any, dict[str, str]]:
            """One page of a list, and where the next is: docs.github.com, Using pagination in the REST API."""
            query = dict(parse_qsl(urlsplit(self.path).query))
            if not isinstance(value, list):
                return value, {}
            size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
            following = urlsplit(self.path)._replace(query=urlencode({**query, "page": page + 1})).geturl()
            more = {"Link": f'<{fake.url}{following}>; rel="next"'} if len(value) > size * page else {}
            return value[size * (page - 1) : size * page], more

        def _send(self, status: int, value: Any, headers: dict[str, str]) -> None:
            raw = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
            self.reply(status, raw, headers=headers)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    with local_server(Handler) as address, pytest.MonkeyPatch.context() as patch:
        fake.url = fake.releases.url = address
        clock = {"time": time.time, "monotonic": time.monotonic}
        patch.setattr("urllib3.util.retry.time", SimpleNamespace(**clock, sleep=fake.pauses.append))
        patch.setattr("github.Requester.time", SimpleNamespace(**clock, sleep=lambda _: None))  # between writes
        yield fake


def actions_environment(github: FakeGitHub, folder: Path) -> dict[str, str]:
    """What Actions sets for a step of a run of pull request 7; the event is written into `folder`."""
    event = folder / "event.json"
    event.write_text(json.dumps({"number": 7, "pull_request": {"number": 7}}))
    return {
        "GITHUB_API_URL": github.url,
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_RUN_ID": "500",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_TOKEN": WRITER,
    }
