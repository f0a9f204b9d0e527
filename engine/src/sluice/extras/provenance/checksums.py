"""SHA256SUMS of a release covers every file in its folder, also those that release.json doesn't pin."""

from __future__ import annotations

import re
from pathlib import Path

from sluice.core.atomic_files import write_atomic
from sluice.core.digests import digest_of_file
from sluice.release.manifest import files_in, is_plain
from sluice.release.release_report import FILE as REPORT
from sluice.release.verification import VerificationResult

FILE = "SHA256SUMS"
# Written by a run that watched a release which was made, and closed, on another machine.
_LATER = {"rehearsal.json", "stages.json", "report.html"}
_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>\S.*)")


def write_checksums(folder: Path) -> None:
    """Close a release: write SHA256SUMS over the files in its folder."""
    write_atomic(folder / FILE, _lines({name: digest_of_file(folder / name) for name in files_in(folder) - {FILE}}))


def check_checksums(folder: Path) -> VerificationResult:
    """Check every file of a release against SHA256SUMS, for `sluice release verify`."""
    if not (folder / FILE).is_file():
        if (folder / REPORT).exists():  # which is never without it
            return VerificationResult("checksums", "failed", f"{FILE}: missing")
        return VerificationResult("checksums", "not verified", f"the release has no {FILE}")
    if faults := faults_of_checksums(folder):
        return VerificationResult("checksums", "failed", "; ".join(faults))
    return VerificationResult("checksums", "verified", f"{len(files_in(folder)) - 1} files")


def faults_of_checksums(folder: Path) -> list[str]:
    """List files that changed, are missing or were added, and malformed lines."""
    text = (folder / FILE).read_bytes().decode("utf-8", "replace")
    listed: dict[str, str] = {}
    faults = []
    for number, line in enumerate(text.splitlines(), 1):
        found = _LINE.fullmatch(line)
        if found is None or not is_plain(found["name"]):
            faults.append(f"{FILE}:{number}: not a line of sha256sum")
        else:
            listed[found["name"]] = found["digest"]
    there = files_in(folder) - {FILE}
    for name, digest in listed.items():
        if name not in there:
            faults.append(f"{name}: missing")
        elif (found_digest := digest_of_file(folder / name)) != digest:
            faults.append(f"{name}: sha256 is {found_digest[:16]}…, {FILE} has {digest[:16]}…")
    faults += [f"{name}: not in {FILE}" for name in sorted(there - listed.keys() - _LATER)]
    if not faults and text != _lines(listed):
        faults.append(f"{FILE}: lines are repeated, out of order or not as sha256sum writes them")
    return faults


def _lines(digests: dict[str, str]) -> str:
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
