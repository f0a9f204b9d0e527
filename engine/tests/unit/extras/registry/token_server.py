"""A token server for a real registry: it signs what the CNCF Distribution registry 2.8.3 verifies.

Request and answer are those of the specification, github.com/distribution/distribution, v2.8.3, docs/spec/auth/token.md
(`GET realm?service=…&scope=…` with Basic credentials; `{"token": …}`) and docs/spec/auth/jwt.md (the claims; `x5c`).
"""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from support.git_server import self_signed
from support.local_server import QuietHandler, local_server

SERVICE, ISSUER = "registry.test", "tokens.test"


@dataclass
class TokenServer:
    """`rights`: actions by user, "" for anyone; `expired`: how many of the next tokens are too old; `asked`: (user,
    scope) of each request."""

    url: str
    settings: dict[str, Any]
    rights: dict[str, set[str]] = field(default_factory=dict)
    expired: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def token_server(folder: Path) -> Iterator[TokenServer]:
    folder.mkdir(parents=True)
    key, certificate = self_signed(ISSUER, x509.BasicConstraints(ca=True, path_length=None))
    bundle = folder / "tokens.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    chain = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            scope = parse_qs(urlsplit(self.path).query)["scope"][0]
            kind, name, actions = scope.split(":")
            user = ""
            if given := self.headers.get("Authorization"):
                user, _, password = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
                if password != f"password of {user}":
                    wrong = {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}
                    return self.reply(401, json.dumps(wrong).encode())
            served.asked.append((user, scope))
            granted = {*actions.split(",")} & served.rights.get(user, set())
            now = datetime.now(UTC) - timedelta(hours=served.expired > 0)
            served.expired = max(0, served.expired - 1)
            claims = {
                "iss": ISSUER,
                "sub": user,
                "aud": SERVICE,
                "exp": now + timedelta(minutes=5),
                "nbf": now,
                "iat": now,
                "jti": str(len(served.asked)),
                "access": [{"type": kind, "name": name, "actions": sorted(granted)}],
            }
            token = jwt.encode(claims, key, algorithm="ES256", headers={"x5c": [chain]})
            return self.reply(200, json.dumps({"token": token}).encode())

    with local_server(Handler) as address:
        url = f"{address}/token"
        trusted = {"realm": url, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(bundle)}
        served = TokenServer(url, {"auth": {"token": trusted}})
        yield served
