"""Builds reproducible container images with buildah, extracts their SBOMs, and pushes them to a registry."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sluice.core import git
from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError
from sluice.release.manifest import PINNED

# Every file in the image and the image itself have this time, the first that zip files can hold: a layer then depends
# on its content alone, and the libraries' one stays the same from commit to commit. When it was made is a label.
EPOCH = 315532800
SBOM = "/opt/libraries/sbom.cdx.json"
_ECR = re.compile(r"\d{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?/.+")


# The stages of the Containerfile that are images, by what ends the names of the image and of its SBOM.
STAGES = {"": "serving", "-load": "load", "-training": "training"}


@dataclass(frozen=True)
class BuiltImage:
    """`id` is the digest of its configuration, `size` is uncompressed bytes, `layers` are digests from the base up, and
    `sbom` is CycloneDX JSON, written to build/image/."""

    name: str
    id: str
    size: int
    layers: tuple[str, ...]
    seconds: float
    sbom: Path


def build(root: Path, base: str, name: str, options: Sequence[str] = (), *, suffix: str = "") -> BuiltImage:
    """Build an image of a checkout, with buildah's output shown."""
    if not PINNED.fullmatch(base):  # a tag can be moved to other content later
        remedy = "name it as NAME@sha256:… with --base or SLUICE_IMAGE_BASE (engine/docs/reference/image.md)"
        raise SluiceError(f"base image {base or '(none)'}: not named by digest", remedy=remedy)
    name = suffixed(name, suffix)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        identity = Path(scratch) / "id"
        _run("buildah", *_words(root, base, name, identity, STAGES[suffix]), *options, str(root), quiet=False)
        image = identity.read_text().strip()
    seconds = time.monotonic() - began
    facts = json.loads(_run("podman", "image", "inspect", image))[0]
    sbom = root / "build" / "image" / f"sbom{suffix}.cdx.json"
    write_atomic(sbom, _file_of(image, SBOM))
    return BuiltImage(name, image, int(facts["Size"]), tuple(facts["RootFS"]["Layers"]), seconds, sbom)


def suffixed(name: str, suffix: str) -> str:
    path, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    return f"{path}{slash}{last}{suffix}{colon}{tag}"


@dataclass(frozen=True)
class PushedImage:
    """`name` without a tag, and the registry's `digest`; `new` is False if it was there before."""

    name: str
    digest: str
    new: bool

    @property
    def image(self) -> str:
        return f"{self.name}@{self.digest}"


def push(root: Path, image: str, to: str, *, user: str = "", token: str = "", tag: str = "") -> PushedImage:
    """Push a local image, tagged with the checkout's commit. An earlier push for this commit is kept: a second build
    need not have its digest."""
    target = f"docker://{to}:{git.commit(root)}{tag}"
    with tempfile.TemporaryDirectory() as scratch:
        login = Path(scratch) / "auth.json"
        key = base64.b64encode(f"{user}:{token}".encode()).decode()
        login.touch(mode=0o600)
        login.write_text(json.dumps({"auths": {to.partition("/")[0]: {"auth": key}} if token else {}}))
        # Where the registry has none, or does not say, pushing tells why.
        inspect = ("inspect", "--authfile", str(login), "--format", "{{.Digest}}", target)
        if found := _run("skopeo", *inspect, tolerant=True):
            return PushedImage(to, found, new=False)
        digest = Path(scratch) / "digest"
        _run("podman", "push", "--authfile", str(login), "--digestfile", str(digest), image, target, quiet=False)
        return PushedImage(to, digest.read_text().strip(), new=True)


def _words(root: Path, base: str, name: str, identity: Path, stage: str) -> list[str]:
    version = tomllib.loads((root / "engine" / "pyproject.toml").read_text())["project"]["version"]
    created = datetime.fromtimestamp(git.commit_time(root), UTC).isoformat()
    arguments = {
        "BASE": base,
        "SOURCE_DATE_EPOCH": EPOCH,
        "VERSION": version,
        "REVISION": git.commit(root),
        "CREATED": created,
    }
    words = ["build", "--layers", "--no-cache", "--pull=missing", "--format", "oci", "--timestamp", str(EPOCH)]
    words += ["--file", str(root / "engine" / "Containerfile"), "--target", stage]
    words += ["--ignorefile", str(root / ".containerignore"), "--iidfile", str(identity), "--tag", name]
    for key, value in arguments.items():
        words += ["--build-arg", f"{key}={value}"]
    return words


def _file_of(image: str, path: str) -> bytes:
    """Return a file of an image without running it."""
    container = _run("podman", "create", "--pull=never", image)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            target = Path(scratch) / "file"
            _run("podman", "cp", f"{container}:{path}", str(target))
            return target.read_bytes()
    finally:
        _run("podman", "rm", container)


def _run(*words: str, quiet: bool = True, tolerant: bool = False) -> str:
    """Return a program's output; `quiet` hides it, `tolerant` returns "" if it fails."""
    try:
        done = subprocess.run(words, capture_output=quiet, text=True, check=False)
    except FileNotFoundError:
        raise SluiceError(f"{words[0]}: not installed", remedy=f"install your system's package {words[0]}") from None
    if done.returncode and not tolerant:
        said = (done.stderr or "").strip().splitlines()
        raise SluiceError(
            f"{words[0]} {words[1]}: ended with {done.returncode}{': ' + said[-1] if said else ''}",
            remedy="what it said before names the step (engine/docs/reference/image.md, When it does not build)",
        )
    return "" if done.returncode else (done.stdout or "").strip()


def login(name: str) -> tuple[str, str]:
    """Return user and password for an image's registry; both are empty if there are none."""
    ecr = _ECR.fullmatch(name)
    if not ecr:
        return os.environ.get("GITHUB_ACTOR", ""), os.environ.get("GITHUB_TOKEN", "")
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = boto3.session.Session().client("ecr", region_name=ecr[1])  # not with credentials of an earlier one
        (given,) = client.get_authorization_token()["authorizationData"]
    except (BotoCoreError, ClientError) as error:
        remedy = "sign in with a role that may push there: `BuildRole` of engine/aws/bootstrap.yaml"
        raise SluiceError(f"{name}: AWS gives no password for this registry: {error}", remedy=remedy) from None
    user, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
    return user, password
