"""A repository on a fake GitHub, its facts, settings and pull requests: docs.github.com, REST API 2022-11-28,
Repositories, Actions, Rules and Pulls, as far as PyGithub 2.10.0 and the doctor ask for them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from unit.github.fake_github import LOGINS, READER, REPOSITORY, FakeGitHub

ROOT = f"/repos/{REPOSITORY}"


@dataclass
class FakeRepository(FakeGitHub):
    """`facts`: what GET answers below the repository, by path. `refused`: paths that the token may not read."""

    facts: dict[str, Any] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    pulls: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        facts = {"default_branch": "main", "full_name": REPOSITORY, "id": 456, "owner": {"id": 123}}
        self.facts.setdefault("", facts)

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        if token not in LOGINS:
            return 401, {"message": "Bad credentials"}
        place, _, query = path.removeprefix(ROOT).partition("?")
        if not path.startswith(ROOT) or re.match(r"/(issues)/", place):
            return super().answer(method, path, token, body)
        if place in self.refused or (method != "GET" and token == READER):
            return 403, {"message": "Resource not accessible by integration"}
        if place.startswith("/pulls"):
            return answer_pulls(self.pulls, REPOSITORY, self.url, method, place, dict(parse_qsl(query)), body)
        if method == "GET" and place in self.facts:
            return 200, self.facts[place]
        return 404, {"message": "Not Found"}


def answer_pulls(
    pulls: list[dict[str, Any]], name: str, url: str, method: str, place: str, query: Mapping[str, str], body: Any
) -> tuple[int, Any]:
    """Answer for the pull requests of a repository; `head` is a branch."""
    if method == "GET":
        heads, owner = (query["head"], query["state"]), name.partition("/")[0]
        return 200, [one for one in pulls if (f"{owner}:{one['head']}", one["state"]) == heads][::-1]
    if method == "POST":
        if any((one["head"], one["state"]) == (body["head"], "open") for one in pulls):
            return 422, {"message": "Validation Failed"}
        number = len(pulls) + 1
        page = f"https://github.invalid/{name}/pull/{number}"
        pulls.append({**body, "number": number, "state": "open", "merged_at": None, "html_url": page})
        pulls[-1]["url"] = f"{url}/repos/{name}/pulls/{number}"
        return 201, pulls[-1]
    pull = pulls[int(place.rpartition("/")[2]) - 1]
    pull.update(body)
    return 200, pull
