"""What the stubs of upload-artifact and download-artifact do: files of a run, kept under PLAYED_PLACE/artifacts/<run>.

As on GitHub: an artifact of the same name is refused within one attempt of a run, hidden files stay out, one folder is
uploaded without its own name, and a name that is not there fails the download. What is not archived is one file, whose
name the artifact has (actions/upload-artifact 7.0.1, action.yml and src/upload/upload-artifact.ts).
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import sys
from pathlib import Path

KEPT = Path(os.environ["PLAYED_PLACE"], "artifacts", os.environ["GITHUB_RUN_ID"])


def upload() -> str | None:
    name, attempt = os.environ["NAME"], os.environ.get("GITHUB_RUN_ATTEMPT", "1")
    patterns = [line.strip() for line in os.environ["PATHS"].splitlines() if line.strip()]
    files = [file for pattern in patterns for file in _files(pattern)]
    if os.environ["HIDDEN"] != "true":
        files = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    if not files:
        message = f"no files were found for {os.environ['PATHS']!r}"
        print(message)
        return message if os.environ["MISSING"] == "error" else None
    if os.environ.get("ARCHIVE") == "false":
        if len(files) > 1:
            return f"one file can be uploaded without an archive, not {len(files)}"
        name = files[0].name
    target, note = KEPT / name, KEPT / f"{name}.attempt"
    if target.exists() and note.read_text() == attempt and os.environ["OVERWRITE"] != "true":
        return f"an artifact named {name} is there already"
    shutil.rmtree(target, ignore_errors=True)
    root = Path(os.path.commonpath([file.parent for file in files]))
    digest = hashlib.sha256()
    for file in sorted(set(files)):
        copy = target / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
        digest.update(copy.read_bytes())
    note.write_text(attempt)
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") as stream:
        stream.write(f"digest={digest.hexdigest()}\n")
        server = f"https://github.invalid/{os.environ['GITHUB_REPOSITORY']}/actions/runs/{KEPT.name}"
        stream.write(f"url={server}/artifacts/{name}\n")
    return None


def _files(pattern: str) -> list[Path]:
    found = list(Path().glob(pattern))
    inside = [file for path in found if path.is_dir() for file in path.rglob("*") if file.is_file()]
    return [path for path in found if path.is_file()] + inside


def download() -> str | None:
    name, pattern, into = os.environ["NAME"], os.environ["PATTERN"], Path(os.environ["INTO"])
    kept = sorted(path for path in KEPT.glob("*") if path.is_dir()) if KEPT.exists() else []
    if name:
        if not (KEPT / name).is_dir():
            return f"no artifact named {name}; there are {[path.name for path in kept]}"
        shutil.copytree(KEPT / name, into, dirs_exist_ok=True)
        return None
    for path in kept:
        if fnmatch.fnmatch(path.name, pattern or "*"):
            target = into if os.environ["MERGE"] == "true" else into / path.name
            shutil.copytree(path, target, dirs_exist_ok=True)
    return None


if __name__ == "__main__":
    sys.exit({"upload": upload, "download": download}[sys.argv[1]]())
