"""The releases of a repository, served over HTTP as GitHub serves them, with the comments and issues beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from unit.forge.fake_github import LOGINS, READER, REPOSITORY, FakeGitHub

RELEASES = f"/repos/{REPOSITORY}/releases"


@dataclass
class FakeReleases(FakeGitHub):
    """`releases` by id. A file that is sent to a release is kept in `files`, by (id of the release, name). What is on
    the disk of GitHub for a file that was not sent whole has the state `starter`."""

    releases: dict[int, dict[str, Any]] = field(default_factory=dict)
    files: dict[tuple[int, str], bytes] = field(default_factory=dict)

    def draft(self, tag: str, **more: Any) -> int:
        number = max(self.releases, default=300) + 1
        self.releases[number] = {
            "id": number,
            "tag_name": tag,
            "draft": True,
            "body": "",
            "assets": [],
            "upload_url": f"{self.url}/upload/{number}/assets{{?name,label}}",
            "html_url": f"https://github.invalid/{REPOSITORY}/releases/{tag}",
            **more,
        }
        return number

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        if not path.startswith((RELEASES, "/upload/")):
            return super().answer(method, path, token, body)
        if token not in LOGINS:
            return 401, {"message": "Bad credentials"}
        if listed := re.fullmatch(rf"{RELEASES}\?per_page=(\d+)&page=(\d+)", path):
            size, page = int(listed[1]), int(listed[2])
            return 200, [*reversed(self.releases.values())][size * (page - 1) : size * page]
        if token == READER:
            return 403, {"message": "Resource not accessible by integration"}
        if sent := re.fullmatch(r"/upload/(\d+)/assets\?name=([\w.-]+)", path):
            return self._keep(int(sent[1]), sent[2], body)
        if method == "POST" and path == RELEASES:
            return 201, self.releases[self.draft(**{"tag": body.pop("tag_name"), **body})]
        if asset := re.fullmatch(rf"{RELEASES}/assets/(\d+)", path):
            for release in self.releases.values():
                release["assets"] = [one for one in release["assets"] if one["id"] != int(asset[1])]
            return 204, None
        number = int(path.removeprefix(f"{RELEASES}/"))
        if number not in self.releases:
            return 404, {"message": "Not Found"}
        if method == "DELETE":
            del self.releases[number]
            return 204, None
        self.releases[number].update(body)
        return 200, self.releases[number]

    def _keep(self, number: int, name: str, content: bytes) -> tuple[int, Any]:
        assets = self.releases[number]["assets"]
        if name in [one["name"] for one in assets]:
            return 422, {"message": "Validation Failed"}
        asset = {"id": 1000 + len(self.files), "name": name, "state": "uploaded", "size": len(content)}
        assets.append(asset)
        self.files[number, name] = content
        return 201, asset
