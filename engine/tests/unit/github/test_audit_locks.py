"""The audit of the locks, with pip-audit played."""

import json
import runpy
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import ValidationErrors

SCRIPT = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "audit_locks.py"))
audit, summary, main = SCRIPT["audit"], SCRIPT["summary"], SCRIPT["main"]
TODAY = date(2026, 11, 25)
CLEAN = {"name": "idna", "version": "3.10", "vulns": []}
BAD = {
    "name": "old",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1", "2.0"], "description": "x"}],
}


def program(folder: Path, answer: Any, status: int = 1) -> Path:
    path = folder / "pip-audit"
    text = answer if isinstance(answer, str) else json.dumps({"dependencies": answer, "fixes": []})
    path.write_text(
        f"#!{sys.executable}\nimport sys\nopen({str(folder / 'words')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        f"print({text!r})\nprint('last words', file=sys.stderr)\nsys.exit({status})\n"
    )
    path.chmod(0o755)
    return path


def run(folder: Path, answer: Any, accepted: str = "accepted: []", *, today: date = TODAY) -> list[Any]:
    (folder / "advisories.yaml").write_text(accepted)
    locks = [folder / "dev.txt", folder / "serve.txt"]
    return audit(program(folder, answer), locks, folder / "advisories.yaml", today=today)


def test_every_lock_is_read_by_its_hashes_alone(tmp_path: Path) -> None:
    assert run(tmp_path, [CLEAN]) == []
    asked = (tmp_path / "words").read_text().splitlines()
    assert [words.split()[-1] for words in asked] == [str(tmp_path / "dev.txt"), str(tmp_path / "serve.txt")]
    for option in ("--require-hashes", "--disable-pip", "--vulnerability-service osv"):
        assert all(option in words for words in asked)
    assert summary([], 2) == "### Dependencies\n\n2 locks, nothing known against them.\n"


def test_an_advisory_is_a_fault_with_what_mends_it(tmp_path: Path) -> None:
    findings = run(tmp_path, [CLEAN, BAD])
    assert [one.fault for one in findings] == [
        "dev.txt: old 1.0: PYSEC-2026-1, fixed in 1.1, 2.0",
        "serve.txt: old 1.0: PYSEC-2026-1, fixed in 1.1, 2.0",
    ]
    assert "| `dev.txt` | `old` | `1.0` | `PYSEC-2026-1` | `1.1, 2.0` |  |" in summary(findings, 2)


@pytest.mark.parametrize(
    ("entry", "counts"),
    [
        ("{id: CVE-2026-1, package: old, until: 2026-11-25, reason: not used}", False),
        ("{id: CVE-2026-1, package: old, until: 2026-11-24, reason: it is over}", True),
        ("{id: CVE-2026-1, package: other, until: 2026-12-31, reason: another}", True),
    ],
)
def test_what_is_accepted_does_not_count_until_its_day_is_over(tmp_path: Path, entry: str, counts: bool) -> None:
    findings = run(tmp_path, [BAD], f"accepted:\n  - {entry}")
    assert [bool(one.fault) for one in findings] == [counts, counts]


@pytest.mark.parametrize("vulnerable", [False, True])
def test_the_summary_of_the_job_has_it_and_a_fault_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vulnerable: bool
) -> None:
    (tmp_path / "advisories.yaml").write_text("accepted: []\n")
    (tmp_path / "dev.txt").write_text("old==1.0 --hash=sha256:00\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    pip_audit = program(tmp_path, [BAD if vulnerable else CLEAN])
    if vulnerable:
        with pytest.raises(ValidationErrors, match=r"dev\.txt: old 1\.0: PYSEC-2026-1, fixed in 1\.1, 2\.0"):
            main(tmp_path, pip_audit)
    else:
        main(tmp_path, pip_audit)
    assert ("nothing known" in (tmp_path / "summary").read_text()) is not vulnerable
