"""A repository on a fake GitHub, its facts, settings and pull requests: docs.github.com, REST API 2022-11-28,
Repositories, Actions, Rules and Pulls, as far as PyGithub 2.10.0 and the doctor ask for them."""

from __future__ import annotations

import re
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
            return self._pulls(method, place, dict(parse_qsl(query)), body)
        if method == "GET" and place in self.facts:
            return 200, self.facts[place]
        return 404, {"message": "Not Found"}

    def _pulls(self, method: str, place: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        owner = REPOSITORY.partition("/")[0]
        if method == "GET":
            heads = (query["head"], query["state"])
            return 200, [one for one in self.pulls if (f"{owner}:{one['head']}", one["state"]) == heads][::-1]
        if method == "POST":
            if any((one["head"], one["state"]) == (body["head"], "open") for one in self.pulls):
                return 422, {"message": "Validation Failed"}
            number = len(self.pulls) + 1
            page = f"https://github.invalid/{REPOSITORY}/pull/{number}"
            self.pulls.append({**body, "number": number, "state": "open", "merged_at": None, "html_url": page})
            self.pulls[-1]["url"] = f"{self.url}{ROOT}/pulls/{number}"
            return 201, self.pulls[-1]
        pull = self.pulls[int(place.rpartition("/")[2]) - 1]
        pull.update(body)
        return 200, pull
