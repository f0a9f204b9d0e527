"""API keys with tenant and rate limit. The file holds sha256 hashes, never keys.

A plain hash is enough: a key is 256 random bits, so a slow hash or a salt would protect nothing."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationError

from sluice.core.atomic_files import read_json, write_atomic
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Settings, describe_faults, nearest
from sluice.core.text import NAME, RULE

VARIABLE = "SLUICE_KEYS_FILE"
PREFIX = "sluice_"
Scope = Literal["chat", "feedback", "metrics", "approve"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_SHAPE = re.compile(rf"{PREFIX}([0-9a-f]{{8}})_[A-Za-z0-9_-]{{43}}")

Name = Annotated[str, Field(pattern=rf"^(?:{NAME.pattern})$")]


class ApiKey(Settings):
    """One key. `id` is its public part; `rate`: requests a minute; `revoked`: since when it is refused, or None."""

    name: Name
    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    tenant: Name | None
    rate: int = Field(ge=1)
    created: str
    revoked: str | None = None


class ApiKeyFile(Settings):
    keys: tuple[ApiKey, ...]
    signing: str | None = None  # signs the ids of answers; older files have none

    @property
    def in_force(self) -> tuple[ApiKey, ...]:
        return tuple(key for key in self.keys if key.revoked is None)


def keys_path(state: Path) -> Path:
    return Path(os.environ.get(VARIABLE) or state / "keys.json")


def read_keys(path: Path) -> ApiKeyFile:
    if not path.exists():
        return ApiKeyFile(keys=())
    try:
        return ApiKeyFile.model_validate(read_json(path))
    except ValidationError as error:
        faults = describe_faults(path, error, {}, ApiKeyFile)
        raise ValidationErrors(
            str(path), faults, remedy="`sluice keys` writes this file; restore it from where it came"
        ) from None


def digest_of_key(presented: str) -> str:
    return hashlib.sha256(presented.encode("utf-8", "surrogatepass")).hexdigest()


def id_of(presented: str) -> str | None:
    found = _SHAPE.fullmatch(presented)
    return found[1] if found else None


def add_key(path: Path, name: str, *, tenant: str | None, scopes: Sequence[str], rate: int) -> str:
    _require_name("the name of a key", name)
    if tenant is not None:
        _require_name("a tenant", tenant)
    for scope in scopes:
        if scope not in SCOPES:
            raise SluiceError(f"no scope {scope!r}{nearest(scope, list(SCOPES))}", remedy=f"use {', '.join(SCOPES)}")
    if rate < 1:
        raise SluiceError(f"a rate of {rate} requests a minute allows no request", remedy="use 1 or more")
    with _locked(path):
        file = read_keys(path)
        if any(key.name == name for key in file.in_force):
            raise SluiceError(
                f"{path}: the key {name!r} is in force already",
                remedy=f"choose another name, or revoke it first: sluice keys revoke {name}",
            )
        taken = {key.id for key in file.keys}
        number = next(fresh for fresh in iter(lambda: secrets.token_hex(4), None) if fresh not in taken)
        secret = f"{PREFIX}{number}_{secrets.token_urlsafe(32)}"
        key = ApiKey(
            name=name,
            id=number,
            sha256=digest_of_key(secret),
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            tenant=tenant,
            rate=rate,
            created=_now(),
        )
        _write(path, file, [*file.keys, key])
    return secret


def revoke_key(path: Path, name: str) -> None:
    with _locked(path):
        file = read_keys(path)
        if not any(key.name == name for key in file.in_force):
            known = [key.name for key in file.in_force]
            raise SluiceError(
                f"{path}: no key {name!r} is in force{nearest(name, known)}", remedy="`sluice keys list` shows them"
            )
        now = _now()
        ends = {key.id: key.model_copy(update={"revoked": now}) for key in file.in_force if key.name == name}
        _write(path, file, [ends.get(key.id, key) for key in file.keys])


def _require_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise SluiceError(f"{name!r} cannot be {what}", remedy=f"use {RULE}")


def _write(path: Path, before: ApiKeyFile, keys: Sequence[ApiKey]) -> None:
    file = ApiKeyFile(keys=tuple(keys), signing=before.signing or secrets.token_hex(32))
    write_atomic(path, file.model_dump_json(indent=2) + "\n", mode=0o600)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    from filelock import FileLock

    try:
        with FileLock(path.with_name(f".{path.name}.lock")):
            yield
    except PermissionError as error:
        raise SluiceError(f"{error.filename}: may not be written", remedy=f"name another file in {VARIABLE}") from None
