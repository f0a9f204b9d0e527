"""The commands of the pages on AWS exist, by the models that botocore carries, and their files are valid settings."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from botocore import xform_name
from botocore.exceptions import UnknownServiceError
from dvc.cli.parser import get_main_parser

from sluice.cli import command
from sluice.core.extras import FOLDER, extras, load
from sluice.llm.model_files import Models, load_models
from sluice.llm.settings import load_providers
from support.aws.service_model import service
from unit.aws.conftest import ROOT
from unit.aws.test_bootstrap import Loader, template

WALKS = [ROOT / "engine" / "docs" / name for name in ("first-release-on-aws.md", "an-8b-model.md")]
PAGES = [ROOT / "docs" / "aws.md", ROOT / "engine" / "docs" / "reference" / "sagemaker.md", *WALKS]
_EVERYWHERE = {"--region", "--query", "--output"}
dvc = get_main_parser()
# Of AWS's command line alone; what each needs.
_ITS_OWN = {("s3", "cp"): {"--recursive"}, ("ecr", "get-login-password"): set()}


def lines(*pages: Path) -> Iterator[str]:
    """Yield the commands of the pages, some of which a checkout without an extra lacks."""
    for page in filter(Path.is_file, pages):
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.S | re.M):
            if not language:
                yield from block.replace("\\\n", " ").splitlines()


def commands() -> Iterator[list[str]]:
    for line in lines(*PAGES):
        if line.startswith("aws "):
            yield shlex.split(re.sub(r"\$\(.*?\)", "0", line.partition(" | ")[0]))


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_a_command_is_one_of_aws(words: list[str]) -> None:
    _, name, verb, *rest = words
    options = {word.partition("=")[0] for word in rest if word.startswith("--")} - _EVERYWHERE
    if (name, verb) in _ITS_OWN:
        assert options == _ITS_OWN[name, verb]
        return
    if (name, verb) == ("cloudformation", "deploy"):
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
    shape = model.operation_model(calls[verb]).input_shape
    assert shape
    assert options <= {f"--{xform_name(member, '-')}" for member in shape.members}
    assert {f"--{xform_name(member, '-')}" for member in shape.required_members} <= options


@pytest.mark.parametrize("line", [line for line in lines(*WALKS) if not line.startswith("aws ")])
def test_a_command_of_a_walk_is_known_to_its_program(line: str) -> None:
    words = shlex.split(re.sub(r"\$\(.*?\)", "0", line))
    match words:
        case [".venv/bin/sluice", *rest]:
            parse(rest)
        case ["make", task, *_]:
            files = [ROOT / "Makefile", *(ROOT / FOLDER).glob("*/extra.mk")]
            assert any(re.search(rf"^{task}:", path.read_text(), re.M) for path in files)
        case ["gh", "variable", "set", name, "--body", _] | ["gh", "variable", "set", name, "--env", _, "--body", _]:
            workflows = (ROOT / ".github" / "workflows").glob("*.yml")
            assert any(f"vars.{name} " in f"{path.read_text()} ".replace("}", " ") for path in workflows)
        case [".venv/bin/dvc", *rest]:
            dvc.parse_args(rest)
        case ["git", verb, *rest]:
            done = subprocess.run(["git", verb, "-h"], capture_output=True, text=True, check=False)
            known = done.stdout + done.stderr
            assert all(re.search(rf"{word}\b", known.replace("[no-]", "")) for word in rest if word.startswith("--"))
        case ["gh", "pr", "create", "--fill"] | ["gh", "pr", "merge", "--squash", "--auto"] | ["sha256sum", _]:
            pass  # no program here to ask
        case ["export", setting]:
            assert setting.partition("=")[0] in ("GITHUB_TOKEN", "SLUICE_ARTEFACTS")
        case _:
            pytest.fail(f"nothing looks at {words[0]}")


def test_what_outlives_the_stack_is_what_a_new_one_imports() -> None:
    (cut,) = [line for line in lines(PAGES[0]) if line.startswith("sed ")]
    shown = subprocess.run(shlex.split(cut.partition(" > ")[0]), cwd=ROOT, capture_output=True, text=True, check=True)
    kept, whole = yaml.load(shown.stdout, Loader=Loader), template()["Resources"]
    lasting = {name: one for name, one in whole.items() if one.get("DeletionPolicy") == "Retain"}
    lasting.pop("GitHub")  # the parameter OidcProvider names it
    assert (kept["Resources"], "Outputs" in kept) == (lasting, False)
    (words,) = [one for one in commands() if "--resources-to-import" in one]
    named = [dict(pair.split("=", 1) for pair in word.split(",")) for word in words if word.startswith("ResourceType=")]
    assert {one["LogicalResourceId"]: one["ResourceType"] for one in named} == {
        name: one["Type"] for name, one in lasting.items()
    }


def test_variables_of_an_environment_are_set_once_it_is_made() -> None:
    walk = list(lines(WALKS[0]))
    made = walk.index(".venv/bin/sluice doctor github --fix --yes")
    assert made < min(number for number, line in enumerate(walk) if line.startswith("gh ") and " --env " in line)


def parse(words: list[str]) -> None:
    """Fail if sluice has no such command, option or argument; nothing is run."""
    found = command()
    context = click.Context(found)
    while isinstance(found, click.Group):
        _, found, words = found.resolve_command(context, words)
    assert found
    found.make_context("sluice", words)


def files(page: Path) -> dict[str, dict[str, Any]]:
    """Return the YAML of a page by the path of its file."""
    found: dict[str, dict[str, Any]] = {}
    for name, text in re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", page.read_text(), re.S | re.M):
        found.setdefault(name, {}).update(yaml.safe_load(text.replace("<sha256>", "a" * 64)))
    return found


@pytest.mark.parametrize("page", filter(Path.is_file, WALKS), ids=lambda page: page.stem)
def test_a_file_of_a_walk_is_taken_by_its_settings(page: Path, tmp_path: Path) -> None:
    config = tmp_path / "config"
    shutil.copytree(ROOT / "config", config)
    account = files(WALKS[0])["config/sagemaker.yaml"]  # the 8B begins where the other page ends
    account.pop("endpoint")
    for name, changed in files(page).items():
        if name == "pipelines/params.yaml":
            load("finetune", extras()["finetune"].parameters["train"]).model_validate(changed["train"])
            continue
        path = tmp_path / name
        start = yaml.safe_load(path.read_text()) | (account if name == "config/sagemaker.yaml" else {})
        path.write_text(yaml.safe_dump(start | changed))
    assert load("sagemaker", "settings:require")(config).endpoint
    load_models(config / "models.yaml")
    load_providers(config / "providers.yaml", roles=Models.roles())


def test_the_chart_of_traefik_on_eks_is_the_one_that_kind_has() -> None:
    chart = re.search(r'TRAEFIK_CHART = "([\d.]+)"', (ROOT / "engine" / "scripts" / "make_kind.py").read_text())
    assert chart
    assert f"--version {chart[1]} " in (ROOT / "engine" / "docs" / "first-cluster.md").read_text()
