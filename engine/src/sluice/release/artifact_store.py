"""The artifact store that machines share: each file under its sha256, `<store>/sha256/<digest>`, and notes beside the
files.

A store is a folder, `s3://<bucket>/<prefix>`, or `https://<host>/<path>` (read-only). It is not trusted: a file is
accepted only with the requested digest. A note, `<store>/<name>`, is written once and never changed: of two concurrent
writers, one is told that it exists (`release/environment_record.py` builds on that).
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError

_SECONDS = 60  # without a byte of an answer
_LIST_OF_PLACES = "name a folder, s3://<bucket>/<prefix> or https://<host>/<path>"


class ArtifactStore(Protocol):
    """Files by their sha256 in hex, and notes by their name. Each call raises a SluiceError that names the store."""

    def has(self, digest: str) -> bool: ...

    def put(self, digest: str, path: Path) -> None: ...

    def get(self, digest: str, target: Path) -> None: ...

    def notes(self, folder: str) -> list[str]:
        """Names of the notes that lie directly in a folder, such as `record/production/000001.json`, sorted."""
        ...

    def read(self, name: str) -> bytes: ...

    def make(self, name: str, content: bytes) -> bool:
        """Makes a note; False, and nothing is changed, when there is one of that name."""
        ...


def open_artifact_store(store: str) -> ArtifactStore:
    """Opens the artifact store at an address."""
    scheme, separator, rest = store.partition("://")
    if not separator:
        return _FolderStore(Path(store))
    if scheme == "s3" and re.fullmatch(r"[^/]+(/.*)?", rest):
        bucket, _, prefix = rest.strip("/").partition("/")
        return _BucketStore(bucket, prefix)
    if scheme in ("http", "https") and rest:
        return _WebStore(store.rstrip("/"))
    raise SluiceError(f"{store}: not an artifact store", remedy=_LIST_OF_PLACES)


def fetch_artifact(store: ArtifactStore, digest: str, target: Path) -> bool:
    """Makes `target` the file with this sha256; False when it was that already. What arrives damaged is not kept."""
    if target.is_file() and digest_of_file(target) == digest:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        store.get(digest, draft)
        if (found := digest_of_file(draft)) != digest:
            raise SluiceError(
                f"{store}/sha256/{digest}: the sha256 of its content is {found}",
                remedy="it was damaged or replaced there: remove it, and push the release again",
            )
        draft.replace(target)
    except OSError as error:
        raise SluiceError(f"{target}: could not be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return True


class _FolderStore:
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
            remedy = "the store must be readable for every machine that fetches"
            raise SluiceError(f"{path}: cannot be read: {error.strerror or error}", remedy=remedy) from error
        with source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream)

    def notes(self, folder: str) -> list[str]:
        return sorted(f"{folder}/{path.name}" for path in (self._root / folder).glob("[!.]*"))

    def read(self, name: str) -> bytes:
        try:
            return (self._root / name).read_bytes()
        except OSError as error:
            raise SluiceError(f"{self._root / name}: cannot be read: {error.strerror or error}") from error

    def make(self, name: str, content: bytes) -> bool:
        """A link gives a whole file its name, and only where the name is free."""
        target = self._root / name
        draft = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_native_id()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.link(draft, target)
        except FileExistsError:
            return False
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = "no space left on the disk" if full else f"could not be written: {error.strerror or error}"
            raise SluiceError(f"{target}: {what}", remedy="mend that and run it again") from error
        finally:
            draft.unlink(missing_ok=True)
        return True


class _BucketStore:
    """boto3 finds the credentials and, in AWS_ENDPOINT_URL, another server than Amazon's."""

    def __init__(self, bucket: str, prefix: str) -> None:
        import boto3

        self._client: Any = boto3.client("s3")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def has(self, digest: str) -> bool:
        try:
            with self._named(_blob(digest)):
                self._client.head_object(Bucket=self._bucket, Key=self._key(digest))
        except SluiceError as error:
            if _status(error) == 404:
                return False
            raise
        return True

    def put(self, digest: str, path: Path) -> None:
        with self._named(_blob(digest)):
            self._client.upload_file(str(path), self._bucket, self._key(digest))

    def get(self, digest: str, target: Path) -> None:
        with self._named(_blob(digest)):
            self._client.download_file(self._bucket, self._key(digest), str(target))

    def notes(self, folder: str) -> list[str]:
        prefix = f"{self._prefix}{folder}/"
        with self._named(folder):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return sorted(key.removeprefix(self._prefix) for key in keys)

    def read(self, name: str) -> bytes:
        with self._named(name):
            answer = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}{name}")
            return bytes(answer["Body"].read())

    def make(self, name: str, content: bytes) -> bool:
        key = f"{self._prefix}{name}"
        try:
            with self._named(name):
                self._client.put_object(Bucket=self._bucket, Key=key, Body=content, IfNoneMatch="*")
        except SluiceError as error:
            # 409: another writer is creating it at this moment; the caller looks again and takes another name.
            if _status(error) in (409, 412):
                return False
            raise
        return True

    def _key(self, digest: str) -> str:
        return f"{self._prefix}{_blob(digest)}"

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise SluiceError(
                f"{self}/{name}: {error}", remedy="check the AWS credentials, the bucket and the prefix"
            ) from error


class _WebStore:
    """What a web server gives out, a bucket behind a CDN for instance."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __str__(self) -> str:
        return self._address

    def has(self, digest: str) -> bool:
        raise self._read_only(_blob(digest))

    def put(self, digest: str, path: Path) -> None:  # noqa: ARG002 - the signature of a store
        raise self._read_only(_blob(digest))

    def notes(self, folder: str) -> list[str]:
        raise self._read_only(folder)

    def read(self, name: str) -> bytes:
        raise self._read_only(name)

    def make(self, name: str, content: bytes) -> bool:  # noqa: ARG002 - the signature of a store
        raise self._read_only(name)

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

    def _read_only(self, name: str) -> SluiceError:
        return SluiceError(
            f"{self._address}/{name}: of a web address only artefacts are read", remedy="name a folder or s3://…"
        )


def _blob(digest: str) -> str:
    return f"sha256/{digest}"


def _missing(store: ArtifactStore, digest: str) -> SluiceError:
    return SluiceError(f"{store}/sha256/{digest}: not there", remedy="`sluice release push` the release there first")


def _status(error: SluiceError) -> int:
    """What AWS answered; 0 when the error is not AWS's."""
    answer = getattr(error.__cause__, "response", None) or {}
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
