from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.closures import CodeGraph, Program, affecting
from sluice.core.errors import SluiceError, ValidationErrors

SERVE = Program(("sluice.serve",), ("assistant.app",), ("serve.txt",))
EVALUATE = Program(("sluice.evaluate",), ("assistant.app", "assistant.metrics"))
FILES = {
    "engine/src/sluice/serve.py": """
        from typing import TYPE_CHECKING
        from sluice.parts import answer
        if TYPE_CHECKING:
            from sluice.evaluate import run
        def serve():
            import sluice.late
    """,
    "engine/src/sluice/parts/__init__.py": "import sluice.always",
    "engine/src/sluice/parts/answer.py": "from sluice import kinds",
    "engine/src/sluice/parts/page.html": "<p>",
    "engine/src/sluice/parts/templates/row.j2": "{{ row }}",
    "engine/src/sluice/parts/apart/report.j2": "{{ report }}",
    "engine/src/sluice/kinds.py": """
        from importlib import import_module
        KINDS = {"one": "sluice.providers.one", "two": "sluice.providers.two:connect"}
        def connect(kind): return import_module(KINDS[kind])
    """,
    "engine/src/sluice/evaluate.py": "from sluice.metrics import registry",
    "engine/src/sluice/metrics/registry.py": 'METRICS = Registry("metric", "sluice.metrics.all")',
    "engine/src/sluice/checks.py": """
        from sluice.core.extras import hooks, packages
        CHECKS = Registry("check", "sluice.metrics.all", *packages("checks"))
        def model(): return hooks("guard_model")
    """,
    "engine/src/sluice/extras/guard/requirements/corpora.txt": "garak==1",
    "engine/src/sluice/names.py": 'ATTRIBUTE = "sluice.metrics"',
    "engine/src/sluice/extend.py": "from sluice.metrics.registry import metric\nfrom sluice.names import name",
    "src/assistant/app.py": "from sluice.extend import name",
    "src/assistant/metrics/tone.py": "from sluice.extend import metric",
    "engine/requirements/serve.txt": "fastapi==1",
}
EMPTY = ["__init__.py", "late.py", "always.py", "parts/other.py", "parts/apart/__init__.py"]
EMPTY += ["providers/__init__.py", "providers/one.py", "providers/two.py", "providers/three.py"]
EMPTY += ["metrics/__init__.py", "metrics/all/__init__.py", "metrics/all/f1.py", "core/__init__.py"]
EMPTY += ["core/extras.py", "extras/__init__.py", "extras/guard/__init__.py", "extras/guard/guard_model.py"]
EMPTY += ["extras/guard/guard_rows.py", "extras/guard/checks/__init__.py", "extras/guard/checks/attack.py"]
FILES |= {f"engine/src/sluice/{name}": "" for name in EMPTY}
FILES |= dict.fromkeys(("src/assistant/__init__.py", "src/assistant/metrics/__init__.py", "src/assistant/notes.py"), "")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        write(tmp_path / name, text)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line.removeprefix(8 * " ") for line in text.splitlines()))


def reached(root: Path, program: Program = SERVE) -> set[str]:
    return set(CodeGraph(root).code_of(program).files)


def test_all_that_can_be_reached_and_nothing_else(root: Path) -> None:
    assert reached(root) == {
        "sluice/__init__.py",
        "sluice/serve.py",
        "sluice/late.py",  # imported in a function
        "sluice/parts/__init__.py",  # runs before its modules
        "sluice/always.py",
        "sluice/parts/answer.py",
        "sluice/parts/page.html",
        "sluice/parts/templates/row.j2",
        "sluice/kinds.py",
        "sluice/providers/__init__.py",
        "sluice/providers/one.py",  # imported by its name
        "sluice/providers/two.py",
        "sluice/extend.py",
        "sluice/names.py",  # of the door what is imported through it; a name that imports nothing is no import
        "assistant/__init__.py",
        "assistant/app.py",
        "requirements/serve.txt",
    }


def test_a_registry_brings_the_modules_of_its_packages(root: Path) -> None:
    found = reached(root, EVALUATE)
    assert {"sluice/metrics/registry.py", "sluice/metrics/all/f1.py", "assistant/metrics/tone.py"} <= found
    assert "assistant/notes.py" not in found


@pytest.mark.parametrize("text", ["import sluice.extend", "from sluice.extend import *", "from sluice import extend"])
def test_a_door_that_is_taken_as_a_whole_brings_all_behind_it(root: Path, text: str) -> None:
    write(root / "src/assistant/app.py", text)
    assert "sluice/metrics/all/f1.py" in reached(root)


def test_what_extras_add_by_a_package_or_a_hook_is_seen_where_it_is_asked_for(root: Path) -> None:
    assert {name for name in reached(root, Program(("sluice.checks",))) if "/extras/" in name} == {
        "sluice/extras/__init__.py",
        "sluice/extras/guard/__init__.py",
        "sluice/extras/guard/checks/__init__.py",
        "sluice/extras/guard/checks/attack.py",
        "sluice/extras/guard/guard_model.py",
    }


def test_an_extra_that_is_switched_off_brings_nothing(root: Path) -> None:
    whole = reached(root, Program(("sluice.checks",)))
    write(root / "config/project.yaml", "without: [guard]")
    assert reached(root, Program(("sluice.extras.guard.guard_model",))) == set()
    assert reached(root, Program(("sluice.checks",))) == {name for name in whole if "extras/" not in name}


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (Program(("sluice.server",)), "no module sluice.server"),
        (Program(("sluice.serve",), locks=("gone.txt",)), r"gone\.txt: no such file"),
    ],
)
def test_what_is_not_there_is_named(root: Path, program: Program, says: str) -> None:
    with pytest.raises(SluiceError, match=says):
        reached(root, program)


def test_a_folder_of_mine_whose_imports_nobody_would_see_is_refused(root: Path) -> None:
    (root / "src/assistant/metrics/__init__.py").unlink()
    with pytest.raises(ValidationErrors, match="src/assistant/metrics/: has modules and no __init__"):
        CodeGraph(root)


def test_which_changes_matter(root: Path) -> None:
    names = [
        "engine/src/sluice/late.py",
        "engine/src/sluice/parts/other.py",
        "engine/src/sluice/gone.py",
        "engine/src/sluice/metrics/all/f1.py",
        "engine/requirements/serve.txt",
        "engine/requirements/dev.txt",
        "prompts/answer.prompt.yml",
    ]
    for name in names:
        if name != "engine/src/sluice/gone.py":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
    assert affecting(root, names, SERVE) == [names[0], names[2], names[4], names[6]]
    assert affecting(root, names, SERVE, EVALUATE) == [names[0], names[2], names[3], names[4], names[6]]
    assert affecting(root, names, EVALUATE, but_for=SERVE) == [names[2], names[3], names[6]]
