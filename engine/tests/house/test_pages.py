import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from sluice.core.project import load_project
from sluice.prompts import Prompt
from starter_files import ROOT

WITHOUT = load_project(ROOT / "config").without
whole = pytest.mark.skipif(bool(WITHOUT), reason="pages and comments may name what was left out")
REFERENCE = Path("engine", "docs", "reference")
_NAMED = re.compile(r"`([\w/.]+\.py(?:::\w+)?)`")


def missing_test(root: Path, name: str) -> str:
    path, _, test = name.partition("::")
    file = root / path if path.startswith("engine/benchmarks/") else root / "engine" / "tests" / path
    if not file.is_file():
        return f"no file {path}"
    functions = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    return "" if not test or test in functions else f"no test {test} in {path}"


@pytest.mark.parametrize("page", ["failures.md", "holding-up.md"])
def test_every_row_names_tests_that_exist(root: Path, page: str) -> None:
    lines = [line for line in (root / REFERENCE / page).read_text().splitlines() if line.startswith("| ")]
    cells = [line.strip("| ").split(" | ")[-1] for line in lines]
    rows = [_NAMED.findall(cell) for cell in cells if cell not in ("test", "test or benchmark")]
    assert len(rows) >= 10
    assert all(rows), "a row without a test or a benchmark"
    assert [fault for row in rows for name in row if (fault := missing_test(root, name))] == []


@whole
@pytest.mark.parametrize(
    ("script", "page"),
    [
        ("engine/scripts/write_workflow_reference.py", "engine/docs/reference/workflows.md"),
        ("engine/scripts/write_metrics_reference.py", "engine/docs/reference/metrics.md"),
        ("engine/scripts/write_schemas.py", "engine/schemas/prompt.schema.json"),
    ],
)
def test_a_written_file_is_up_to_date(root: Path, tmp_path: Path, script: str, page: str) -> None:
    subprocess.run([sys.executable, root / script, tmp_path], cwd=root, check=True)
    written = (tmp_path / Path(page).name).read_text()
    assert (root / page).read_text() == written, f"{page} is out of date, run: .venv/bin/python {script}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Greet Me"},
        {"messages": [{"role": "robot", "content": "a"}]},
        {"messages": [{"rol": "user", "content": "a"}]},
        {"modelParameters": {"temperature": 2.5}},
        {"modelParameters": {"stop": "END"}},
        {"modelParameters": {"max_tokens": 5}},
        {"variables": [{"name": "a b", "type": "string"}]},
        {"tests": []},
    ],
)
def test_the_schema_of_editors_and_the_model_refuse_the_same_prompts(root: Path, wrong: dict[str, Any]) -> None:
    schema = json.loads((root / "engine" / "schemas" / "prompt.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    prompts = [yaml.safe_load(path.read_text()) for path in (root / "prompts").glob("*.prompt.yml")]
    assert len(prompts) >= 2  # those of no extra
    for prompt in prompts:
        jsonschema.validate(prompt, schema)
        assert not jsonschema.Draft202012Validator(schema).is_valid({**prompt, **wrong})
        with pytest.raises(ValidationError):
            Prompt.model_validate({**prompt, **wrong})


_FENCE = re.compile(r"^```(.*)\n(?:.*\n)*?```$", re.MULTILINE)
# Not `../x`, and not a path with a placeholder, as `k8s/overlays/ENV`.
_SPAN = re.compile(r"`((?!\.\.?/|.*/[A-Z]+\b)[\w.-]+(?:/[\w.-]+)*/?)`")
_MODULE = re.compile(r"(?<![\w/.<>-])(?:[a-z_]+/)+\w+\.py\b")
_PACKAGE = "engine/src/sluice/"
# Where the paths of a page begin, beside the top of the repository.
_BELOW = {"engine/CONTRIBUTING.md": "engine/", "engine/docs/architecture.md": _PACKAGE}
# Git does not have them: a wheel that is pinned, what DVC writes, a project's own kinds.
_WRITTEN = {"config/engine.lock", "pipelines/dvc.lock", "k8s/schemas/"}


def missing(root: Path, page: str, text: str) -> list[str]:
    """Return code spans that begin with a folder of the repository and lead nowhere, but for new files of examples."""
    new = {words for head in _FENCE.findall(text) for words in head.split()}
    found = []
    for span in _SPAN.findall(_FENCE.sub("", text)):
        places = [place for place in ("", _BELOW.get(page, "")) if (root / place / span.partition("/")[0]).is_dir()]
        if "/" in span and places and not any((root / place / span).exists() for place in places):
            found.append(span)
    return [span for span in found if span not in new | _WRITTEN]


@whole
def test_every_path_in_a_page_is_there(root: Path, tracked: list[str]) -> None:
    pages = [name for name in tracked if name.endswith(".md") and not name.startswith(("dvc-store/", "CHANGELOG"))]
    ignored = ("build/", "data/", ".sluice/", ".venv/", ".dvc/cache")
    found = {
        page: [span for span in missing(root, page, (root / page).read_text()) if not span.startswith(ignored)]
        for page in pages
    }
    assert {page: spans for page, spans in found.items() if spans} == {}


@whole
def test_every_module_that_the_engine_names_is_there(root: Path, tracked: list[str]) -> None:
    found = set()
    for name in tracked:
        if name.startswith(_PACKAGE) and name.endswith(".py"):
            places = [
                "",
                "engine/",
                "engine/src/",
                _PACKAGE,
                "engine/tests/",
                f"{Path(name).parent}/",
                f"{Path(name).parents[1]}/",
            ]
            for path in _MODULE.findall((root / name).read_text()):
                if not path.startswith("gguf/") and not any((root / place / path).is_file() for place in places):
                    found.add(f"{name}: {path}")
    assert found == set()


@whole
def test_the_layers_of_the_architecture_are_the_packages(root: Path) -> None:
    table = (root / "engine/docs/architecture.md").read_text().partition("## Layers")[2].partition("\n## ")[0]
    listed = re.findall(r"`(\w+)/`", " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `")))
    packages = {path.name for path in (root / _PACKAGE).iterdir() if (path / "__init__.py").is_file()}
    assert sorted(listed) == sorted(packages)
