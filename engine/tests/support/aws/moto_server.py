"""moto's server: AWS on this machine, for everything that asks boto3."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.aws.service_model import watch


@cache
def _server() -> str:
    """Start the one server of this process: to stop one takes half a second, and all share their content."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@contextmanager
def aws_server(monkeypatch: pytest.MonkeyPatch, *, region: str) -> Iterator[str]:
    """Lead boto3's clients to an empty account, and check their requests by the models of the services."""
    address = _server()
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",  # pragma: allowlist secret
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{address}/moto-api/reset", timeout=60)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    watch(monkeypatch)
    yield address


@contextmanager
def s3_bucket(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> Iterator[str]:
    """Make an empty bucket for boto3 and DVC. `folder`: for a file of settings."""
    import boto3

    with aws_server(monkeypatch, region="us-east-1"):
        (folder / "aws").touch()
        monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "aws"))  # dvc wants it to be a file
        boto3.client("s3").create_bucket(Bucket=name)
        yield name


def make_stack(template: Path, **parameters: str) -> dict[str, str]:
    """Apply a template of CloudFormation; return its outputs."""
    import boto3

    text = template.read_text()
    # moto makes a list of what is given, and leaves a default as it is written.
    lists = re.findall(r"^  (\w+):\n    Type: CommaDelimitedList\n    Default: (\w.*)$", text, re.M)
    parameters = dict(lists) | parameters
    cloud: Any = boto3.client("cloudformation")
    cloud.create_stack(
        StackName="bootstrap",
        TemplateBody=text,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    (made,) = cloud.describe_stacks(StackName="bootstrap")["Stacks"]
    assert made["StackStatus"] == "CREATE_COMPLETE"
    return {one["OutputKey"]: one["OutputValue"] for one in made["Outputs"]}
