"""Where artefacts lie for other machines: each file under its sha256, `<place>/sha256/<digest>`, and nothing else.

A place is a folder, `s3://<bucket>/<prefix>`, or `https://<host>/<path>` (to read only). It is not trusted: whatever
comes out of it is kept only when it has the digest that was asked for.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError

_SECONDS = 60  # without a byte of an answer
_LIST_OF_PLACES = "name a folder, s3://<bucket>/<prefix> or https://<host>/<path>"


class Place(Protocol):
    """Files by their sha256 in hex. Each call raises SluiceError that names the place."""

    def has(self, digest: str) -> bool: ...

    def put(self, digest: str, path: Path) -> None: ...

    def get(self, digest: str, target: Path) -> None: ...


def open_place(place: str) -> Place:
    """The place that a word names."""
    scheme, separator, rest = place.partition("://")
    if not separator:
        return _Folder(Path(place))
    if scheme == "s3" and re.fullmatch(r"[^/]+(/.*)?", rest):
        bucket, _, prefix = rest.strip("/").partition("/")
        return _Bucket(bucket, prefix)
    if scheme in ("http", "https") and rest:
        return _Site(place.rstrip("/"))
    raise SluiceError(f"{place}: not a place for artefacts", remedy=_LIST_OF_PLACES)


def bring(place: Place, digest: str, target: Path) -> bool:
    """Makes `target` the file with this sha256; False when it was that already. What arrives damaged is not kept."""
    if target.is_file() and digest_of_file(target) == digest:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        place.get(digest, draft)
        if (found := digest_of_file(draft)) != digest:
            raise SluiceError(
                f"{place}/sha256/{digest}: the sha256 of its content is {found}",
                remedy="it was damaged or replaced there: remove it, and push the release again",
            )
        draft.replace(target)
    except OSError as error:
        raise SluiceError(f"{target}: could not be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return True


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def _path(self, digest: str) -> Path:
        return self._root / "sha256" / digest

    def has(self, digest: str) -> bool:
        return self._path(digest).is_file()

    def put(self, digest: str, path: Path) -> None:
        target = self._path(digest)
        draft = target.with_name(f".{digest}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, draft)
            draft.replace(target)
        except OSError as error:
            raise SluiceError(f"{target}: could not be written: {error.strerror or error}") from error
        finally:
            draft.unlink(missing_ok=True)

    def get(self, digest: str, target: Path) -> None:
        path = self._path(digest)
        try:
            source = path.open("rb")
        except FileNotFoundError:
            raise _missing(self, digest) from None
        except OSError as error:
            remedy = "the place must be readable for whoever fetches"
            raise SluiceError(f"{path}: cannot be read: {error.strerror or error}", remedy=remedy) from error
        with source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream)


class _Bucket:
    """boto3 finds the credentials and, in AWS_ENDPOINT_URL, another server than Amazon's."""

    def __init__(self, bucket: str, prefix: str) -> None:
        import boto3

        self._client: Any = boto3.client("s3")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def has(self, digest: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            with self._named(digest):
                self._client.head_object(Bucket=self._bucket, Key=self._key(digest))
        except SluiceError as error:
            if isinstance(error.__cause__, ClientError) and _status(error.__cause__) == 404:
                return False
            raise
        return True

    def put(self, digest: str, path: Path) -> None:
        with self._named(digest):
            self._client.upload_file(str(path), self._bucket, self._key(digest))

    def get(self, digest: str, target: Path) -> None:
        with self._named(digest):
            self._client.download_file(self._bucket, self._key(digest), str(target))

    def _key(self, digest: str) -> str:
        return f"{self._prefix}sha256/{digest}"

    @contextmanager
    def _named(self, digest: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise SluiceError(
                f"{self}/sha256/{digest}: {error}", remedy="check the AWS credentials, the bucket and the prefix"
            ) from error


class _Site:
    """What a web server gives out, a bucket behind a CDN for instance."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __str__(self) -> str:
        return self._address

    def has(self, digest: str) -> bool:
        raise self._read_only(digest)

    def put(self, digest: str, path: Path) -> None:  # noqa: ARG002 - the signature of a place
        raise self._read_only(digest)

    def get(self, digest: str, target: Path) -> None:
        import httpx

        url = f"{self._address}/sha256/{digest}"
        try:
            with httpx.stream("GET", url, timeout=_SECONDS, follow_redirects=True) as reply:
                if reply.status_code == 404:
                    raise _missing(self, digest)
                reply.raise_for_status()
                with target.open("wb") as stream:
                    for block in reply.iter_bytes(1 << 20):
                        stream.write(block)
        except httpx.HTTPError as error:
            raise SluiceError(f"{url}: could not be fetched: {error}") from error

    def _read_only(self, digest: str) -> SluiceError:
        return SluiceError(
            f"{self._address}/sha256/{digest}: a web address is only read", remedy="push to a folder or to s3://…"
        )


def _missing(place: Place, digest: str) -> SluiceError:
    return SluiceError(f"{place}/sha256/{digest}: not there", remedy="`sluice release push` the release there first")


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
