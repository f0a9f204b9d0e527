"""The recipe of a run, and the archives of code, data and live release that its jobs get.

Two trees with the same recipe produce the same adapter, so no run is paid for twice, and a result is only accepted into
a tree with its recipe. Archives are named after their content, so each is uploaded once.
"""

from __future__ import annotations

import gzip
import tarfile
import tempfile
from collections.abc import Iterable
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from sluice.core.closures import STAGES as PROGRAMS
from sluice.core.closures import CodeGraph
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.settings import read_yaml
from sluice.core.workspace import LOCK, Workspace
from sluice.extras.sagemaker.aws_clients import asking
from sluice.extras.sagemaker.settings import FILE, SageMakerSettings
from sluice.template.owned import list_files

STAGES = ("index", "train")  # those that make an adapter: `check` only accepts or refuses data
ARCHIVE = "sources.tar.gz"
_KEY = f"sources/{{digest}}/{ARCHIVE}"
_ENGINE = ("engine/pyproject.toml", "engine/requirements/", "engine/src/")
CODE = ("src/", "pipelines/", "prompts/", "config/", "pyproject.toml", *_ENGINE)
# These decide nothing in a job; what came of the lock is in the archive.
_LEFT_OUT = {LOCK, f"config/{FILE}", "pipelines/dvc.lock"}


def recipe_of(workspace: Workspace, image: str) -> str:
    """Return the hex sha256 over the dependencies and parameters of the stages, and the image that they run in."""
    pipeline = workspace.root / "pipelines" / "dvc.yaml"
    stages = read_yaml(pipeline)[0]["stages"]
    made = {
        out if isinstance(out, str) else next(iter(out))
        for stage in stages.values()
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, ())
    }
    deps = sorted({dep for name in STAGES for dep in stages[name]["deps"]} - made)
    graph = CodeGraph(workspace.root)
    return digest_of(
        {
            "code": {name: graph.code_of(PROGRAMS[name]).digest for name in STAGES},
            "commands": {name: stages[name]["cmd"] for name in STAGES},
            "deps": {dep: _content(workspace.root / dep) for dep in deps},
            "params": [_values(workspace.root, one) for name in STAGES for one in stages[name].get("params", ())],
            "image": image,
        }
    )


def _content(path: Path) -> Any:
    if path.is_file():
        return digest_of_file(path)
    if not path.is_dir():
        raise SluiceError(f"{path}: no such file or folder", remedy="`.venv/bin/dvc pull data.dvc` brings the data")
    files = (one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts)
    return {str(one.relative_to(path)): digest_of_file(one) for one in sorted(files)}


def _values(root: Path, entry: dict[str, list[str]]) -> dict[str, Any]:
    documents = {file: read_yaml(root / file)[0] for file in entry}
    return {
        f"{file}:{key}": reduce(getitem, key.split("."), documents[file])
        for file, keys in entry.items()
        for key in keys
    }


def code_of(workspace: Workspace) -> list[Path]:
    """Return the files that git knows or would take, and those of an installed engine."""
    listed = [name for name in list_files(workspace.root) if name not in _LEFT_OUT]
    return [workspace.root / name for name in listed if name.startswith(CODE)]


def pack(base: Path, files: Iterable[Path], out: Path) -> None:
    """Write an archive of the files by their path below `base`, without times and owners."""
    with (
        out.open("wb") as target,
        gzip.GzipFile(filename="", fileobj=target, mode="wb", mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted({one for one in files if one.is_file()}):
            entry = tarfile.TarInfo(str(path.relative_to(base)))
            entry.size, entry.mode = path.stat().st_size, 0o755 if path.stat().st_mode & 0o100 else 0o644
            with path.open("rb") as content:
                archive.addfile(entry, content)


def send(s3: Any, settings: SageMakerSettings, base: Path, files: Iterable[Path], key: str = _KEY) -> str:
    """Put an archive of the files into the bucket unless it is there; return its address.

    `key`: its place below the prefix of the settings, with {digest} for the archive's.
    """
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / ARCHIVE
        pack(base, files, archive)
        key = key.format(digest=digest_of_file(archive))
        name = f"{settings.prefix}/{key}"
        with asking(settings.uri(key)):
            if not s3.list_objects_v2(Bucket=settings.bucket, Prefix=name, MaxKeys=1).get("Contents"):
                s3.upload_file(str(archive), settings.bucket, name)
        return settings.uri(key)
