"""What aws-actions/configure-aws-credentials talks to: GitHub's service of OIDC tokens, and AWS's STS.

The first as @actions/core asks it (aws-actions/configure-aws-credentials v6.2.3, src/index.ts: getIDToken); the second
by AWS's Security Token Service API Reference, version 2011-06-15: AssumeRoleWithWebIdentity, GetCallerIdentity. Whether
a role trusts a repository is not decided here (engine/tests/unit/aws/test_bootstrap.py). Credentials are those that the
played action gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from support.local_server import in_thread

AUDIENCE = "sts.amazonaws.com"
_SPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_CREDENTIALS = {
    "AccessKeyId": "played-access-key-id",
    "SecretAccessKey": "played-secret-access-key",  # pragma: allowlist secret
    "SessionToken": "played-session-token",  # pragma: allowlist secret
    "Expiration": "2100-01-01T00:00:00Z",
}


@contextmanager
def sign_in_service(assumed: Path) -> Iterator[dict[str, str]]:
    """Yields what a runner with `id-token: write` tells steps. `assumed` gets the role of every sign-in."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            right = self.headers["Authorization"] == "Bearer played"
            asked = parse_qs(urlsplit(self.path).query)
            token = f"token-for-{asked['audience'][0]}" if right else ""
            self._answer(200 if right else 401, "application/json", json.dumps({"value": token}))

        def do_POST(self) -> None:
            sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            action = sent["Action"][0]
            if action == "GetCallerIdentity":
                found = {
                    "Account": "000000000000",
                    "Arn": "arn:aws:sts::000000000000:assumed-role/a/b",
                    "UserId": "a:b",
                }
                self._answer(200, "text/xml", _xml(action, _elements(found)))
            elif sent.get("WebIdentityToken") != [f"token-for-{AUDIENCE}"]:
                self._answer(403, "text/xml", _xml(action, "", error="AccessDenied"))
            else:
                with assumed.open("a") as stream:
                    stream.write(sent["RoleArn"][0] + "\n")
                self._answer(200, "text/xml", _xml(action, f"<Credentials>{_elements(_CREDENTIALS)}</Credentials>"))

        def _answer(self, status: int, kind: str, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    with in_thread(server):
        yield {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{url}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "played",
            "AWS_ENDPOINT_URL_STS": url,
            "HTTP_PROXY": "",  # the action would take it, and not what needs none (src/index.ts, proxyServer)
            "HTTPS_PROXY": "",
        }


def _elements(values: dict[str, str]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in values.items())


def _xml(action: str, result: str, *, error: str = "") -> str:
    if error:
        return f'<ErrorResponse xmlns="{_SPACE}"><Error><Type>Sender</Type><Code>{error}</Code></Error></ErrorResponse>'
    return f'<{action}Response xmlns="{_SPACE}"><{action}Result>{result}</{action}Result></{action}Response>'
