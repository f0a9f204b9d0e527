"""What the stubs of upload-artifact and download-artifact do: files of a run, kept under PLAYED_PLACE/artifacts/<run>.

As actions/upload-artifact 7.0.0 (src/shared/search.ts, src/upload/upload-artifact.ts) and @actions/artifact 6.2.1,
which it calls: paths are kept below the part of the pattern that is literal, or what several have in common; hidden
files stay out; what is not archived is one file, whose name the artifact has, while `overwrite` removes what `name`
says; a name that the run has is refused. actions/download-artifact 8.0.1: a name that is not there fails.
"""

import hashlib
import itertools
import os
import shutil
import sys
from pathlib import Path

KEPT = Path(os.environ["PLAYED_PLACE"], "artifacts", os.environ["GITHUB_RUN_ID"])


def upload() -> str | None:
    name = os.environ["NAME"]
    patterns = [line.strip() for line in os.environ["PATHS"].splitlines() if line.strip()]
    files = [file for pattern in patterns for file in _files(pattern)]
    if os.environ["HIDDEN"] != "true":
        files = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    if not files:
        message = f"No files were found with the provided path: {os.environ['PATHS']}"
        print(message)
        return message if os.environ["MISSING"] == "error" else None
    if os.environ["OVERWRITE"] == "true":
        shutil.rmtree(KEPT / name, ignore_errors=True)
    if os.environ.get("ARCHIVE") == "false":
        if len(files) > 1:
            return f"When 'archive' is set to false, only a single file can be uploaded. Found {len(files)} files"
        name = files[0].name
    target, root = KEPT / name, _root([_literal(pattern) for pattern in patterns], files)
    if target.exists():
        return f"(409) Conflict: an artifact named {name} is there already"
    digest = hashlib.sha256()
    for file in sorted(set(files)):
        copy = target / (file.name if name == file.name else file.relative_to(root))
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
        digest.update(copy.read_bytes())
    number = int(digest.hexdigest()[:8], 16)
    server = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}/actions/runs/{KEPT.name}"
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") as stream:
        stream.write(f"id={number}\ndigest={digest.hexdigest()}\nurl={server}/artifacts/{number}\n")
    return None


def _files(pattern: str) -> list[Path]:
    found = list(Path().glob(pattern))
    inside = [file for path in found if path.is_dir() for file in path.rglob("*") if file.is_file()]
    return [path for path in found if path.is_file()] + inside


def _literal(pattern: str) -> Path:
    parts = itertools.takewhile(lambda part: not set(part) & set("*?["), Path(pattern).parts)
    return Path(*parts)


def _root(searched: list[Path], files: list[Path]) -> Path:
    """What names are relative to: the common part of several patterns; of one, itself, or the folder of its file."""
    if len(searched) > 1:
        return Path(os.path.commonpath(searched) or ".")
    return files[0].parent if files == searched else searched[0]


def download() -> str | None:
    name, into = os.environ["NAME"], Path(os.environ["INTO"])
    if not (KEPT / name).is_dir():
        return f"Artifact '{name}' not found"
    shutil.copytree(KEPT / name, into, dirs_exist_ok=True)
    return None


if __name__ == "__main__":
    sys.exit({"upload": upload, "download": download}[sys.argv[1]]())
