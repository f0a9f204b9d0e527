import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core.closures import CODE, PROGRAMS, SERVE, STAGES, CodeGraph
from sluice.core.extras import extras, packages

# Import libraries, not modules of ours; is given names of packages by those who have a registry; imports extras, which
# are found by the names that its callers give; imports the application, which is a root of each program that answers.
_FOREIGN = {
    "data/privacy.py",
    "guardrails/validators.py",
    "core/registry.py",
    "core/extras.py",
    "serving/contracts.py",
}


@pytest.fixture(scope="module")
def graph() -> CodeGraph:
    return CodeGraph(Path(__file__).parents[3])


@pytest.fixture(scope="module")
def stages(root: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((root / "pipelines" / "dvc.yaml").read_text())["stages"])


def test_each_stage_depends_on_its_code_and_names_none(stages: dict[str, Any]) -> None:
    assert list(stages) == ["code", *STAGES]
    for name in STAGES:
        deps = stages[name]["deps"]
        assert deps[0] == f"build/code/{name}.txt"
        assert not [dep for dep in deps if dep.startswith(CODE)]


def test_what_serves_reaches_nothing_that_judges_trains_or_deploys(graph: CodeGraph) -> None:
    names = [name.split("/") for name in graph.code_of(SERVE).files if name.startswith("sluice/")]
    parts = {name[1] for name in names} - {"__init__.py", "extend.py"}  # the door's names are looked up
    assert parts - {"extras"} == {"core", "data", "guardrails", "llm", "prompts", "release", "retrieval", "serving"}
    serving = {package.split(".")[2] for kind in ("checks", "providers") for package in packages(kind)}
    # Help for a small model, tools of the model, exporters of traces.
    serving |= {"small_model", "tools", "traces"} & extras().keys()
    assert {name[2] for name in names if name[1] == "extras"} - {"__init__.py"} == serving


def test_no_stage_reaches_the_commands_or_the_road(graph: CodeGraph) -> None:
    reached = {name for program in PROGRAMS.values() for name in graph.code_of(program).files}
    above = ("cli", "jobs", "github", "template", "extras/doctor", "cluster", "rehearsal", "rollout")
    assert not [name for name in reached if name.startswith(tuple(f"sluice/{part}/" for part in above))]
    assert not reached & {"sluice/core/closures.py"}


def test_modules_that_are_imported_by_name_can_be_seen(root: Path) -> None:
    """`import_module` of a name that is put together would be missed."""
    package = root / "engine" / "src" / "sluice"
    for path in package.rglob("*.py"):
        name, text = path.relative_to(package).as_posix(), path.read_text()
        if name in _FOREIGN or not re.search(r"\b(import_module|__import__)\(", text):
            continue
        assert re.search(r"""["']sluice(\.\w+)+(:\w+)?["']""", text), (
            f"{name}: imports what core/closures.py cannot see"
        )
        assert not re.search(r"""\b(import_module|__import__)\(f["']""", text), name
