"""Source archives for the jobs: code, data and the live release, each named by its content.

Equal content gives equal bytes, so that it is uploaded once.
"""

from __future__ import annotations

import gzip
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sluice.core.digests import digest_of_file
from sluice.core.workspace import LOCK, Workspace
from sluice.extras.sagemaker.aws_clients import asking
from sluice.extras.sagemaker.settings import FILE, SageMakerSettings
from sluice.template.owned import list_files

ARCHIVE = "sources.tar.gz"
# What a stage reads of a checkout. The settings of SageMaker itself and what dvc noted here decide nothing in a job.
CODE = (
    "src/",
    "pipelines/",
    "prompts/",
    "config/",
    "engine/pyproject.toml",
    "engine/requirements/",
    "engine/src/",
    "pyproject.toml",
)
_LEFT_OUT = {LOCK, f"config/{FILE}", "pipelines/dvc.lock"}  # what came of the lock is in the archive


def code_of(workspace: Workspace) -> list[Path]:
    """The files that git knows or would take, and those of an installed engine, as they are in the working tree."""
    listed = [name for name in list_files(workspace.root) if name not in _LEFT_OUT]
    return [workspace.root / name for name in listed if name.startswith(CODE)]


def pack(base: Path, files: Iterable[Path], out: Path) -> None:
    """A gzipped archive of the files by their path below `base`, without times and owners."""
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


def send(s3: Any, settings: SageMakerSettings, base: Path, files: Iterable[Path]) -> str:
    """Puts an archive of the files into the bucket by its content, unless it is there; returns its folder, which a
    channel takes."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / ARCHIVE
        pack(base, files, archive)
        digest = digest_of_file(archive)
        folder, key = settings.uri("sources", digest), f"{settings.prefix}/sources/{digest}/{ARCHIVE}"
        with asking(folder):
            if not s3.list_objects_v2(Bucket=settings.bucket, Prefix=key, MaxKeys=1).get("Contents"):
                s3.upload_file(str(archive), settings.bucket, key)
        return folder
