"""User and password of a registry: those of GitHub's variables, or for Amazon ECR those that AWS gives out."""

from __future__ import annotations

import base64
import os
import re

from sluice.core.errors import SluiceError

_ECR = re.compile(r"\d{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?/.+")


def login(name: str) -> tuple[str, str]:
    """User and password for the registry of an image; both empty where there are none."""
    ecr = _ECR.fullmatch(name)
    if not ecr:
        return os.environ.get("GITHUB_ACTOR", ""), os.environ.get("GITHUB_TOKEN", "")
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = boto3.session.Session().client("ecr", region_name=ecr[1])  # not with credentials of an earlier one
        (given,) = client.get_authorization_token()["authorizationData"]
    except (BotoCoreError, ClientError) as error:
        raise SluiceError(
            f"{name}: AWS gives no password for this registry: {error}",
            remedy="sign in with a role that may push there: `BuildRole` of engine/aws/bootstrap.yaml",
        ) from None
    user, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
    return user, password
