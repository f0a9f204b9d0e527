"""git over https with tokens: the real `git http-backend` behind a server that signs in as GitHub's does.

GitHub takes a token as the password of Basic authentication, with any name (docs.github.com, "Using a token on the
command line"); it asks for it by 401, also before it says whether a private repository is there, and refuses a push
that the token may not make by 403.
"""

import base64
import ipaddress
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.local_server import QuietHandler, local_server


@dataclass
class GitServer:
    url: str
    certificate: Path
    rights: dict[str, str] = field(default_factory=dict)


@contextmanager
def git_server(folder: Path) -> Iterator[GitServer]:
    class Handler(QuietHandler):
        def _handle(self) -> None:
            word = self.headers.get("Authorization", "").rpartition(" ")[2]
            right = served.rights.get(base64.b64decode(word).decode().partition(":")[2])
            path, _, query = self.path.partition("?")
            if right is None:
                self._answer("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="GitHub"')], b"")
            elif "receive-pack" in self.path and right != "write":
                self._answer("403 Forbidden", [], b"Permission to octo/app denied")
            else:
                self._run(path, query)

        def _run(self, path: str, query: str) -> None:
            body = self.body
            variables = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REMOTE_USER": "octocat",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            words = ["git", "http-backend"]
            done = subprocess.run(words, input=body, capture_output=True, check=True, env=variables)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = [line.split(": ", 1) for line in head.decode().split("\r\n")]
            status = next((value for name, value in headers if name == "Status"), "200 OK")
            self._answer(status, [(name, value) for name, value in headers if name != "Status"], content)

        def _answer(self, status: str, headers: list[tuple[str, str]], content: bytes) -> None:
            code, _, reason = status.partition(" ")
            self.send_response(int(code), reason)
            for name, value in (*headers, ("Content-Length", str(len(content)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    for method in ("GET", "POST"):
        setattr(Handler, f"do_{method}", Handler._handle)
    key, certificate = _pair(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with local_server(Handler, context) as address:
        served = GitServer(address, certificate)
        yield served


def self_signed(name: str, extension: x509.ExtensionType) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    return key, made.add_extension(extension, critical=True).sign(key, hashes.SHA256())


def _pair(folder: Path) -> tuple[Path, Path]:
    names = x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("github.localhost")
    key, signed = self_signed("git.test", x509.SubjectAlternativeName(names))
    files = folder / "git.key", folder / "git.pem"
    kind = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[0].write_bytes(key.private_bytes(serialization.Encoding.PEM, *kind))
    files[1].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return files
