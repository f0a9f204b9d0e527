"""The serving lock has nothing that the image does not import, and all that the service does.

What is loaded is seen in a process of its own: it imports every library that the code of the image names, also inside
functions, and what libraries choose by a name.
"""

from __future__ import annotations

import ast
import json
import re
from importlib.metadata import packages_distributions
from pathlib import Path

from sluice.core.closures import SERVE, CodeGraph, Program
from sluice.core.extras import extras
from support.left_out import run_in_image

ROOT = Path(__file__).parents[3]
REQUIREMENTS = ROOT / "engine" / "requirements"
# What runs in the image beside the service: the Jobs of engine/k8s/components/database.
JOBS = Program(("sluice.cli.index_build", "sluice.release.catalogue", "sluice.retrieval.store_schema"))
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
LOADED = """
import importlib, importlib.metadata, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
places = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
print(json.dumps([
    one.name for one in importlib.metadata.distributions()
    if any(str(one.locate_file(file)) in places for file in one.files or ())
]))
"""


def locked() -> set[str]:
    """Distributions of the lock that Linux installs."""
    lines = re.findall(r"^([\w.-]+)(?:\[[^]]+\])?==(.*)", (REQUIREMENTS / "serve.txt").read_text(), re.M)
    return {_normal(name) for name, rest in lines if not re.search("sys_platform == '(win32|emscripten)'", rest)}


def imported(*programs: Program) -> dict[str, set[str]]:
    """Distribution -> its modules that code of the programs names. One that many share counts for those of the lock."""
    owners, known = packages_distributions(), locked()
    found: dict[str, set[str]] = {}
    for path in CodeGraph(ROOT).code_of(*programs).paths.values():
        for module in _modules_of(path) if path.suffix == ".py" else ():
            names = {_normal(name) for name in owners.get(module.partition(".")[0], ())} - {"sluice", "assistant"}
            for name in names & known or names:
                found.setdefault(name, set()).add(module)
    return found


def _modules_of(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_of_the_lock_is_loaded_by_what_the_image_imports() -> None:
    by_distribution = imported(SERVE, JOBS)
    modules = {module for name in by_distribution.keys() & locked() for module in by_distribution[name]}
    loaded = {_normal(name) for name in json.loads(run_in_image(LOADED, *sorted(modules), *BY_NAME))}
    assert locked() - loaded == UNUSED.keys()


def test_every_package_that_the_service_imports_is_in_the_lock() -> None:
    assert imported(SERVE).keys() - locked() == NOT_SERVED
