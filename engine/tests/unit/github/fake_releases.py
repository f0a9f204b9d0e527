"""The GitHub Releases of one repository, drafts and files: docs.github.com, REST API 2022-11-28, Releases and Release
assets, as far as PyGithub 2.10.0 asks for them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FakeReleases:
    """`by_id`, each with its `assets`; `contents` of the files by (release id, name)."""

    url: str = ""
    repository: str = "octo/app"
    by_id: dict[int, dict[str, Any]] = field(default_factory=dict)
    contents: dict[tuple[int, str], bytes] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        base = f"/repos/{self.repository}/releases"
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
            self.by_id[int(one[1])].update(body)
        return 200, self.by_id[int(one[1])]

    def _create(self, body: Any) -> tuple[int, Any]:
        published = [one["tag_name"] for one in self.by_id.values() if not one["draft"]]
        if not body.get("draft") and body["tag_name"] in published:
            return 422, {"message": "Validation Failed", "errors": [{"code": "already_exists"}]}
        number = max(self.by_id, default=300) + 1
        place = f"/repos/{self.repository}/releases/{number}"
        self.by_id[number] = {
            "draft": False,
            "prerelease": False,
            **body,
            "id": number,
            "assets": [],
            "url": f"{self.url}{place}",
            "html_url": f"https://github.invalid/{self.repository}/releases/tag/{body['tag_name']}",
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
        url = f"{self.url}/repos/{self.repository}/releases/assets/{number}"
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
