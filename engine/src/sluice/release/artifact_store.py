"""The artifact store that machines share: each file under its sha256, `<store>/sha256/<digest>`, and notes.

A store isn't trusted: a file is accepted only with the requested digest. A note is written once and never changed; of
two concurrent writers, one is told that it exists."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore, GCSStore, HTTPStore, LocalStore, S3Store

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks

if TYPE_CHECKING:
    from obstore.auth.boto3 import Boto3CredentialProvider

_BUCKETS: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
_ADDRESSES = (
    "name a folder, s3://<bucket>/<prefix>, gs://…, az://<container>/<prefix>, https://<host>/<path>, "
    "or with the extra `registry` oci://<registry>/<name> or github"
)
# A whole file may be gigabytes and has no limit; an answer that stalls is asked for again.
_PATIENCE: dict[str, Any] = {
    "client_options": {"allow_http": True, "read_timeout": "60s", "timeout": "1day"},
    "retry_config": {"max_retries": 5, "retry_timeout": timedelta(seconds=60)},
}


class ArtifactStore(Protocol):
    """Files by their sha256 in hex, and notes by their name. Each call raises a SluiceError that names the store."""

    def has(self, digest: str) -> bool: ...

    def put(self, digest: str, path: Path) -> None: ...

    def get(self, digest: str, target: Path) -> None:
        """Write a file, unverified."""

    def notes(self, folder: str) -> list[str]:
        """Return the sorted names of the notes directly in a folder, such as `record/production/000001.json`."""
        ...

    def read(self, name: str) -> bytes: ...

    def make(self, name: str, content: bytes) -> bool:
        """Make a note; False if it exists."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders directly in a folder that have notes."""
        ...

    def keep(self, release: str, folder: Path, blobs: Mapping[str, Path]) -> None:
        """Protect what a release needs from garbage collection by others."""

    def unneeded(self, needed: Collection[str], before: datetime) -> list[str]:
        """Return the sorted names of files that are old and not needed."""
        ...

    def remove(self, name: str) -> None: ...


def open_artifact_store(store: str) -> ArtifactStore:
    """Open the store at an address: a folder, a bucket, a web address, or one of the extra `registry`."""
    scheme, separator, rest = store.partition("://")
    if scheme in ("oci", "github"):
        for opener in hooks("artifact_store").values():
            opened: ArtifactStore = opener(store)
            return opened
        raise SluiceError(
            f"{store}: this project has left out the extra `registry`, which opens such an artifact store",
            remedy="name a folder or a bucket, or bring engine/src/sluice/extras/registry/ back with git",
        )
    bucket, _, prefix = rest.strip("/").partition("/")
    if not separator:
        # From the root of the file system: the first write makes the folder, a look at it does not.
        root = Path(store).absolute()
        return _ObjectStore(str(root), LocalStore(), f"{root}/".lstrip("/"))
    if scheme in ("http", "https") and rest:
        return _ObjectStore(store.rstrip("/"), HTTPStore(store, **_PATIENCE), shared=False)
    if scheme not in _BUCKETS or not bucket:
        raise SluiceError(f"{store}: not an artifact store", remedy=_ADDRESSES)
    options = {"credential_provider": _aws_credentials()} if scheme == "s3" else {}
    try:
        bucket_store = _BUCKETS[scheme](bucket, **_PATIENCE, **options)
    except BaseError as error:
        raise _named_error(store, error) from error
    return _ObjectStore(f"{scheme}://{bucket}/{prefix}".rstrip("/"), bucket_store, f"{prefix}/".lstrip("/"))


def fetch_artifact(store: ArtifactStore, digest: str, target: Path) -> bool:
    """Make `target` the file with a digest. Return False if it was; what arrives damaged isn't kept."""
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


class _ObjectStore:
    """A store of obstore whose names begin with `prefix`. Only `shared` ones can be written to."""

    def __init__(
        self, address: str, store: obstore.store.ObjectStore, prefix: str = "", *, shared: bool = True
    ) -> None:
        self._address, self._store, self._prefix, self._shared = address, store, prefix, shared

    def __str__(self) -> str:
        return self._address

    def has(self, digest: str) -> bool:
        with self._named(_blob(digest)) as key:
            try:
                obstore.head(self._store, key)
            except FileNotFoundError:
                return False
            return True

    def put(self, digest: str, path: Path) -> None:
        with self._named(_blob(digest)) as key:
            obstore.put(self._store, key, path)

    def get(self, digest: str, target: Path) -> None:
        with self._named(_blob(digest), shared=False) as key, target.open("wb") as file:
            for block in obstore.get(self._store, key).stream():
                file.write(block)

    def notes(self, folder: str) -> list[str]:
        with self._named(folder) as key:
            listed = obstore.list_with_delimiter(self._store, key)["objects"]
        names = [one["path"].removeprefix(self._prefix) for one in listed]
        return sorted(name for name in names if not name.startswith(f"{folder}/."))

    def read(self, name: str) -> bytes:
        with self._named(name) as key:
            return bytes(obstore.get(self._store, key).bytes())

    def make(self, name: str, content: bytes) -> bool:
        with self._named(name) as key:
            try:
                obstore.put(self._store, key, content, mode="create")
            except AlreadyExistsError:
                return False
            if isinstance(self._store, LocalStore):  # obstore leaves it to the system when the disk has it
                with Path("/", key).open("rb") as note:
                    os.fsync(note)
            return True

    def folders(self, folder: str) -> list[str]:
        with self._named(folder) as key:
            listed = obstore.list_with_delimiter(self._store, key)["common_prefixes"]
        return sorted(name.rstrip("/").rpartition("/")[2] for name in listed)

    def keep(self, release: str, folder: Path, blobs: Mapping[str, Path]) -> None:
        """Nothing is collected here but by `unneeded` and `remove`."""

    def unneeded(self, needed: Collection[str], before: datetime) -> list[str]:
        with self._named("sha256/") as key:
            there = [one for page in obstore.list(self._store, key) for one in page if one["last_modified"] < before]
        names = (one["path"].rpartition("/")[2] for one in there)
        return sorted(name for name in names if len(name) == 64 and name not in needed)

    def remove(self, name: str) -> None:
        with self._named(_blob(name)) as key, suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    @contextmanager
    def _named(self, name: str, *, shared: bool = True) -> Iterator[str]:
        """Yield the key of a name; errors of obstore name it."""
        if shared and not self._shared:
            raise SluiceError(f"{self}/{name}: a web address can only be read from", remedy="name a folder or a bucket")
        try:
            yield f"{self._prefix}{name}"
        except FileNotFoundError:
            remedy = "`sluice release push` the release there first"
            raise SluiceError(f"{self}/{name}: not there", remedy=remedy) from None
        except BaseError as error:
            raise _named_error(f"{self}/{name}", error) from error


def _named_error(where: str, error: BaseError) -> SluiceError:
    said = " ".join(str(error).partition("\n\nDebug source:")[0].split())
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return SluiceError(f"{where}: no space left on the disk", remedy="free some space and run it again")
    return SluiceError(f"{where}: {said}", remedy="check the address, the rights, the credentials and the region")


def _aws_credentials() -> Boto3CredentialProvider | None:
    """Use boto3 if it is installed: it also knows profiles and single sign-on; obstore knows keys and roles."""
    try:
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        return None
    try:
        return Boto3CredentialProvider()
    except ValueError:  # it finds none: obstore says where they were looked for
        return None
    except BotoCoreError as error:
        raise SluiceError(f"AWS credentials: {error}", remedy="check AWS_PROFILE and ~/.aws") from error


def _blob(digest: str) -> str:
    return f"sha256/{digest}"
