"""The locks of the images hold what their code imports, and that of the service nothing else.

A process of its own imports every library that the code names, also inside functions or by a name.
"""

import ast
import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

from sluice import extend
from sluice.core.closures import SERVE, CodeGraph, Program
from sluice.core.extras import extras

ROOT = Path(__file__).parents[3]
REQUIREMENTS = ROOT / "engine" / "requirements"
# What runs in the image beside the service: the Jobs of engine/k8s/components/database.
JOBS = Program(("sluice.cli.index_build", "sluice.release.catalogue"))
# Imported by a name that is no import statement, or on first use.
BY_NAME = {
    "httptools": "uvicorn parses HTTP with it where it is there",
    "httpcore": "connections of httpx",
    "httpcore2": "connections of httpx2, of which the clients of Anthropic and LangSmith are made",
    "langchain.agents": "applications: agents and graphs",
    "langchain_openai": "kind langchain, by the name of its integration",
}
# In the lock although nothing of the image imports it.
UNUSED = {
    "fsspec": "huggingface-hub: its file system, which downloads do without; not left out, since DVC needs it",
    "tzdata": "faker, of guardrails-ai: declared; a Linux image has its own",
}
# One lock serves every project; what only parts of the engine import is in it without all of these, too.
_OF_EXTRAS = {
    ("aws_models",): ("aiobotocore", "aioitertools", "wrapt"),
    ("clients", "tools"): ("jsonschema-rs", "mcp", "mcp-types", "sse-starlette"),
    ("tools",): ("langgraph-checkpoint-postgres",),
}
UNUSED |= {name: " or ".join(of) for of, names in _OF_EXTRAS.items() if not {*of} & extras().keys() for name in names}
# Imported for a setting that an image cannot have.
NOT_SERVED = {"mlflow", "mlflow-skinny", "mlflow-tracing"}
# Prints the distributions of which the modules that it is given load a file.
LOADED = """
import importlib, importlib.metadata, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
places = {getattr(module, "__file__", None) for name, module in list(sys.modules.items()) if name not in before}
print(json.dumps([
    one.name for one in importlib.metadata.distributions()
    if any(str(one.locate_file(file)) in places for file in one.files or ())
]))
"""
# Hides what the image leaves out.
HIDDEN = """
import sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, distribution
names = []
for left_out in {left_out!r}:
    try:
        files = distribution(left_out).files or ()
    except PackageNotFoundError:
        continue
    names += [file.parent.as_posix().replace("/", ".") for file in files if file.name == "__init__.py"]
class Present(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if fullname in names else super().find_spec(fullname, path, target)
sys.meta_path = [Present if one is PathFinder else one for one in sys.meta_path]
"""


def locked(name: str) -> set[str]:
    lines = re.findall(r"^([\w.-]+)(?:\[[^]]+\])?==(.*)", (REQUIREMENTS / name).read_text(), re.M)
    return {normal(name) for name, rest in lines if not re.search("sys_platform == '(win32|emscripten)'", rest)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def modules_of(path: Path) -> set[str]:
    """What a file imports, through the door `sluice.extend` too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            door = extend.__name__
            names = {extend._MODULES.get(alias.name, door) for alias in node.names}
            found |= names if node.module == door else {str(node.module)}
    return found


def imported(*programs: Program) -> dict[str, set[str]]:
    """Distribution -> its modules that code of the programs names. One that many share counts for those of the lock."""
    owners, known = packages_distributions(), locked("serve.txt")
    found: dict[str, set[str]] = {}
    for path in CodeGraph(ROOT).code_of(*programs).paths.values():
        for module in modules_of(path) if path.suffix == ".py" else ():
            names = {normal(name) for name in owners.get(module.partition(".")[0], ())} - {"sluice", "assistant"}
            for name in names & known or names:
                found.setdefault(name, set()).add(module)
    return found


def run_in_image(code: str, *argv: str) -> str:
    """What a process prints that sees no more libraries than the serving image has."""
    left_out = re.findall(r"^[\w-]+", (REQUIREMENTS / "serve.exclude").read_text(), re.M)
    env = {**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src")}
    call = [sys.executable, "-c", HIDDEN.format(left_out=left_out) + code, *argv]
    done = subprocess.run(call, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_package_of_the_lock_is_loaded_by_what_the_image_imports() -> None:
    known, by_distribution = locked("serve.txt"), imported(SERVE, JOBS)
    modules = {module for name in by_distribution.keys() & known for module in by_distribution[name]}
    loaded = {normal(name) for name in json.loads(run_in_image(LOADED, *sorted(modules), *BY_NAME))}
    assert known - loaded == UNUSED.keys()


def test_every_package_that_the_service_imports_is_in_the_lock() -> None:
    assert imported(SERVE).keys() - locked("serve.txt") == NOT_SERVED


# What the Jobs of the analyses run in the image of the load stage.
COMMANDS = {
    "sluice": [
        "sluice.cli",
        *(f"sluice.extras.{name}.cli" for name in extras() if find_spec(f"sluice.extras.{name}.cli")),
    ],
    "sluice release fetch": ["sluice.release.artifact_store", "sluice.release.catalogue"],
    "sluice canary quality": [
        "sluice.serving.settings",
        "sluice.evaluation.comparison_policy",
        "sluice.evaluation.reports.phrasing",
        "sluice.evaluation.runner",
        "sluice.rollout.canary_quality",
    ],
}


def missing_in_load_image(modules: list[str]) -> set[str]:
    done = subprocess.run([sys.executable, "-c", LOADED, *modules], capture_output=True, text=True, check=True)
    return {normal(name) for name in json.loads(done.stdout)} - locked("load.txt") - {"sluice"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_a_job_imports_what_its_image_holds(command: str) -> None:
    assert missing_in_load_image(COMMANDS[command]) == set()


def test_the_load_stage_imports_what_its_image_holds() -> None:
    own = {path.stem for path in (ROOT / "loadtest").glob("*")} | {"__future__"}
    named = {module for path in (ROOT / "loadtest").rglob("*.py") for module in modules_of(path)}
    modules = sorted(module for module in named if module.partition(".")[0] not in own)
    assert {"locust", "sluice.rollout.locust_stage"} <= set(modules)
    assert missing_in_load_image(modules) == set()
