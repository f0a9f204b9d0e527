"""Who opens a registry. Amazon's is moto's: it answers GetAuthorizationToken as botocore's model has it."""

from __future__ import annotations

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.image.registry_login import login
from support.aws.moto_server import aws_server

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/sluice"


def test_github_s_variables_open_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    monkeypatch.setenv("GITHUB_TOKEN", "word")
    assert login("ghcr.io/octo/app") == ("octocat", "word")
    assert login(f"registry.example/{ECR}") == ("octocat", "word")


def test_aws_opens_its_own(monkeypatch: pytest.MonkeyPatch, loopback: None) -> None:  # noqa: ARG001
    monkeypatch.setenv("GITHUB_TOKEN", "word")
    with aws_server(monkeypatch, region="us-east-1"):
        user, password = login(ECR)
    assert user == "AWS"
    assert password
    assert password != "word"


def test_without_credentials_the_role_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(SluiceError, match="gives no password") as raised:
        login(ECR)
    assert "BuildRole" in raised.value.remedy
