"""What opens a container registry, and GitHub: variables, what `docker login` noted, and the token of gh."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

from sluice.core.errors import SluiceError

GITHUB = "ghcr.io"


def credentials(host: str) -> str:
    """`user:password` in base64, for a registry; empty where none are known.

    It is what `docker login` noted; for GitHub's registry before that GITHUB_TOKEN or GH_TOKEN, and after it the token
    of gh."""
    given = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN")
    if not (host == GITHUB and given) and (noted := _noted(host)):
        return noted
    token = github_token() if host == GITHUB else ""
    return _encoded(os.environ.get("GITHUB_ACTOR") or "token", token) if token else ""


def github_token() -> str:
    """GITHUB_TOKEN, GH_TOKEN, or the token of the program gh; empty where there is none."""
    return os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or _printed("gh", "auth", "token")


def _noted(host: str) -> str:
    """What Docker's configuration has for a registry, or the program that it names for it."""
    file = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker", "config.json")
    try:
        config = json.loads(file.read_text())
    except FileNotFoundError:
        return ""
    except ValueError as error:
        raise SluiceError(f"{file}: not JSON: {error}", remedy="run `docker login` to write it again") from None
    if noted := config.get("auths", {}).get(host, {}).get("auth"):
        return str(noted)
    helper = config.get("credHelpers", {}).get(host) or config.get("credsStore")
    said = _printed(f"docker-credential-{helper}", "get", given=host) if helper else ""
    found = json.loads(said) if said.startswith("{") else {}
    return _encoded(found["Username"], found["Secret"]) if found.get("Secret") else ""


def _printed(*words: str, given: str = "") -> str:
    """What a program prints; empty where it is missing or fails."""
    try:
        done = subprocess.run(words, input=given, capture_output=True, text=True, check=False, timeout=60)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()
