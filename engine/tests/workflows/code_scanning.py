"""A GitHub with code scanning, as the action upload-sarif asks it: github/codeql-action 4.36.3, src/api-client.ts
(version of the server, the run and its workflow), src/feature-flags.ts, src/status-report.ts, src/upload-lib.ts
(the report, gzipped and in base64, and what became of it). What is uploaded is a line of a file, as the played action
leaves it."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unit.github.fake_github import READER, REPOSITORY, FakeGitHub

_ROOT = f"/repos/{REPOSITORY}"
_SCANNING = f"{_ROOT}/code-scanning"


@dataclass
class CodeScanningGitHub(FakeGitHub):
    """`scanned`: gets the reports."""

    scanned: Path = Path()

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        place = path.partition("?")[0]
        if method == "PUT" and place == f"{_SCANNING}/analysis" and token != READER:
            report = json.loads(gzip.decompress(base64.b64decode(body["sarif"])))
            with self.scanned.open("a") as stream:
                stream.write(json.dumps(report) + "\n")
            return 202, {"id": "1"}
        if re.fullmatch(rf"{_ROOT}/actions/runs/\d+", place):
            return 200, {"workflow_url": f"{self.url}{_ROOT}/actions/workflows/1"}
        known = {
            "/meta": {},
            f"{_ROOT}/actions/workflows/1": {"path": ".github/workflows/nightly.yml"},
            f"{_SCANNING}/codeql-action/features": {},
            f"{_SCANNING}/analysis/status": {},
            f"{_SCANNING}/sarifs/1": {"processing_status": "complete"},
        }
        return (200, known[place]) if place in known else super().answer(method, path, token, body)
