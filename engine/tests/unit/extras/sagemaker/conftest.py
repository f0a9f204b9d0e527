from collections.abc import Iterator

import pytest

from support.aws.played_sagemaker import Played
from support.aws.sagemaker_runs import account


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, loopback: None) -> Iterator[Played]:  # noqa: ARG001 - this machine
    with account(monkeypatch) as found:
        yield found
