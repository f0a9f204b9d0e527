"""The commands of docs/aws.md and the page on SageMaker: each is one that AWS's command line has.

It takes its commands from the models that botocore carries; `cloudformation deploy` and what `eks` does here alone are
its own, and for a deployment the template and its parameters are looked at.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.exceptions import UnknownServiceError

from support.aws.service_model import service
from unit.aws.conftest import ROOT
from unit.aws.test_bootstrap import template

PAGES = [ROOT / "docs" / "aws.md", ROOT / "engine" / "docs" / "reference" / "sagemaker.md"]
_EVERYWHERE = {"--region", "--query", "--output"}


def commands() -> Iterator[list[str]]:
    for page in filter(Path.is_file, PAGES):  # the second goes with the extra
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.S | re.M):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("aws "):
                    yield shlex.split(re.sub(r"\$\(.*?\)", "0", line))


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_a_command_is_one_of_aws(words: list[str]) -> None:
    _, name, command, *rest = words
    options = {word.partition("=")[0] for word in rest if word.startswith("--")} - _EVERYWHERE
    if (name, command) == ("cloudformation", "deploy"):
        assert options == {"--template-file", "--stack-name", "--parameter-overrides"} | (options & {"--capabilities"})
        known = template(ROOT / rest[rest.index("--template-file") + 1])["Parameters"]
        given = [word.partition("=")[0] for word in rest if "=" in word]
        assert set(given) <= set(known)
        assert {key for key, one in known.items() if "Default" not in one} <= set(given)
        return
    try:
        model = service(name)
    except UnknownServiceError:
        pytest.fail(f"{name}: no service of AWS")
    calls = {xform_name(one, "-"): one for one in model.operation_names}
    shape = model.operation_model(calls[command]).input_shape
    assert shape
    assert options <= {f"--{xform_name(member, '-')}" for member in shape.members}


def test_there_are_some() -> None:
    assert len(list(commands())) >= 6
