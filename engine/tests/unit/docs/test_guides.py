"""The how-to sections of docs/, whose examples are applied to a copy of the repository.

A block whose info string ends with a path is a new file or, of the kind `diff`, has lines to add (`+`) between lines
that are there.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sluice.cluster.manifests import render
from sluice.template.owned import list_files, write_lists
from support.git import commit_all, git

ROOT = Path(__file__).parents[4]
pytestmark = [
    pytest.mark.skipif(not (ROOT / "docs" / "extend.md").exists(), reason="a project without these pages"),
    pytest.mark.timeout(3600),
]

SECTIONS = {
    "metric": ("extend.md", "A metric"),
    "guardrail": ("extend.md", "A guardrail"),
    "provider": ("extend.md", "A provider"),
    "tool": ("extend.md", "A tool"),
    "endpoint": ("extend.md", "An endpoint"),
    "prompt": ("prompts.md", "Add a prompt"),
    "canary step": ("canary.md", "A canary step"),
}
PROGRAMS = Path(sys.executable).parent
_BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    kind: str
    path: str
    text: str

    def apply(self, root: Path) -> None:
        """Write the new file, or add the lines."""
        file = root / self.path
        if self.kind == "diff":
            file.write_text(_added(file.read_text().split("\n"), self.text.rstrip("\n").split("\n"), self.path))
            return
        assert not file.exists(), f"{self.path} is there already"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.text)


@dataclass(frozen=True)
class Guide:
    files: frozenset[str]
    examples: tuple[Example, ...]

    def apply(self, root: Path) -> None:
        for example in self.examples:
            example.apply(root)


def guide(name: str) -> Guide:
    page, heading = SECTIONS[name]
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL
    )
    assert found, f"{page}: no section {heading!r}"
    section = found[1]
    listed = re.search(r"^Files: (.*)$", section, re.MULTILINE)
    assert listed, f"{page}: {heading}: no line `Files:`"
    return Guide(
        frozenset(re.findall(r"`([^`]+)`", listed[1])), tuple(Example(*block) for block in _BLOCK.findall(section))
    )


def _added(lines: list[str], change: list[str], path: str) -> str:
    context = [line[1:] for line in change if not line.startswith("+")]
    places = [
        at
        for at in range(len(lines) - len(context) + 1)
        if all(line.startswith(wanted) for line, wanted in zip(lines[at:], context, strict=False))
    ]
    assert len(places) == 1, f"{path}: {context} is there {len(places)} times"
    at, made = places[0], lines[: places[0]]
    for line in change:
        if line.startswith("+"):
            made.append(line[1:])
        else:
            made.append(lines[at])
            at += 1
    return "\n".join([*made, *lines[at:]])


def copy_repository(target: Path) -> None:
    """Copy the working tree as the only commit of a new repository: a project made from the template."""
    for name in list_files(ROOT):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    git(target, "init", "--quiet")
    git(target, "add", "--all")
    write_lists(target, list_files(target))
    commit_all(target)


def changed(root: Path) -> set[str]:
    told = git(root, "status", "--porcelain", "--untracked-files=all", "-z")
    return {line[3:] for line in told.split("\0") if line}


def run(root: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    code = os.pathsep.join(str(root / folder) for folder in ("src", "engine/src", "engine/tests"))
    environment = {**os.environ, "PYTHONPATH": code}
    return subprocess.run([*words], cwd=root, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    copy_repository(folder)
    for name in SECTIONS:
        guide(name).apply(folder)
    return folder


@pytest.fixture(scope="module")
def found(together: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program = together / "engine" / "tests" / "unit" / "docs" / "behaviour.py"
    done = run(together, sys.executable, program, tmp_path_factory.mktemp("services"))
    assert done.returncode == 0, done.stdout + done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_names_the_files_of_its_example_and_none_of_the_engine(name: str) -> None:
    section = guide(name)
    assert section.files == {example.path for example in section.examples}
    assert not [path for path in section.files if path.startswith("engine/")]


def test_the_checks_stay_green(together: Path) -> None:
    files = sorted(path for path in changed(together) if path.endswith(".py"))
    assert len(files) >= 9
    types = ["--config-file", "engine/pyproject.toml", f"--cache-dir={ROOT / '.mypy_cache'}"]
    for words in (
        [PROGRAMS / "ruff", "format", "--check", *files],
        [PROGRAMS / "ruff", "check", *files],
        [PROGRAMS / "mypy", *types, *(path for path in files if path.startswith("src/"))],
        [PROGRAMS / "sluice", "prompts", "check"],
        [PROGRAMS / "sluice", "manifests", "check"],
        [PROGRAMS / "sluice", "gates", "sync"],
        [PROGRAMS / "sluice", "engine", "check"],
    ):
        done = run(together, *words)
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    assert changed(together) == {path for name in SECTIONS for path in guide(name).files}, "`make sync` changes nothing"


def test_the_tests_of_a_project_and_the_contracts_stay_green(together: Path) -> None:
    # Contracts about what the examples touch: src/, config/, prompts/ and the steps of the canary.
    contracts = [f"engine/tests/contract/test_{name}.py" for name in ("border", "project_files", "rollout_file")]
    chosen = ["-m", "not real and not e2e", "tests", *contracts]
    # A folder of its own: pytest would close the one that it shares with us to the user that PostgreSQL runs as.
    folder = f"--basetemp={together.parent / 'nested'}"
    done = run(together, sys.executable, "-m", "pytest", "-q", folder, *chosen)
    assert done.returncode == 0, done.stdout[-6000:]


def test_the_metric_decides(found: dict[str, Any]) -> None:
    assert found["pull_request"] == {"verdict": "worse", "worse": ["digits"]}


def test_the_guardrail_blocks_a_question(found: dict[str, Any]) -> None:
    assert found["blocked"]["blocked"] == "ticket.number"
    assert found["answered"]["blocked"] is None
    assert found["answered"]["choices"][0]["message"]["content"] == "sixty-four tokens"


def test_the_provider_answers(found: dict[str, Any]) -> None:
    assert found["provider"] == {
        "kind": "fixed",
        "text": "I cannot answer at the moment. Please try again in a minute.",
    }


def test_the_application_gets_the_tool(found: dict[str, Any]) -> None:
    assert found["tools"]["storage_cost"]["arguments"] == ["gigabytes", "months"]
    assert found["tools"]["storage_cost"]["description"].startswith("What it costs to store data")
    assert found["tools"]["storage_cost"]["of 100"] == 2


def test_the_endpoint_answers_with_a_key_and_is_documented(found: dict[str, Any]) -> None:
    assert found["endpoint"] == [{"opens": "08:00", "closes": "17:00"}, 401]
    assert found["documented"]


def test_the_prompt_is_used(found: dict[str, Any]) -> None:
    assert found["greeted"]["choices"][0]["message"]["content"] == "Good day."
    assert [text.partition(" ")[0] for text in found["asked"]] == ["You", "Greet"]


def test_the_canary_has_the_step_in_a_rehearsal_and_in_every_overlay(found: dict[str, Any], together: Path) -> None:
    assert [step for step in found["steps"] if isinstance(step, int)] == [10, 25, 50]
    assert found["analyses"] == ["quality", "load", "load", "load"]
    for overlay in sorted(path.parent for path in (together / "k8s" / "overlays").glob("*/kustomization.yaml")):
        assert render(overlay).count("setWeight: 25") == 1, overlay.name
