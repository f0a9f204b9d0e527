from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sluice.cluster.manifests import render
from unit.docs.guide import ROOT, Guide, changed, copy_repository, read_guide

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


def guide(name: str) -> Guide:
    page, heading = SECTIONS[name]
    return read_guide(ROOT / "docs" / page, heading)


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
