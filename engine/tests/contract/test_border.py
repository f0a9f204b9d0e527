import ast
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice import extend
from sluice.core.errors import SluiceError
from sluice.core.extras import packages
from sluice.serving.contracts import load_build


def imports(folder: Path) -> Iterator[tuple[str, str, str]]:
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sluice":
                yield from ((file.name, str(node.module), alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((file.name, one.name, "") for one in node.names if one.name.partition(".")[0] == "sluice")


@pytest.mark.parametrize("folder", ["src/assistant", "tests", "loadtest"])
def test_a_project_imports_of_the_engine_only_its_door(root: Path, folder: str) -> None:
    beside = {
        (file, module, name)
        for file, module, name in imports(root / folder)
        if module != "sluice.extend" and (module, name) != ("sluice", "extend")
    }
    assert beside == set()


def test_every_name_of_the_door_is_there() -> None:
    assert sorted(extend.__all__) == dir(extend) == sorted(extend._MODULES)
    # Locust, which the load test brings, changes the standard library of its process, so these names have their own.
    load_test = [name for name, module in extend._MODULES.items() if module.startswith("sluice.rollout.")]
    for names, brings in ((sorted(set(extend.__all__) - set(load_test)), False), (load_test, True)):
        modules = loaded(f"from sluice import extend; assert None not in map(extend.__getattr__, {names})")
        assert ("locust" in modules) is brings
    with pytest.raises(AttributeError, match="no attribute 'metrics'"):
        _ = extend.metrics  # type: ignore[attr-defined]


def loaded(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys, json; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_serving_loads_neither_the_evaluation_nor_integrations_nor_doubles() -> None:
    modules = loaded(
        "import sluice.serving.server, assistant.app, assistant.tools; from sluice.serving.routing import load_router;"
        "load_router(); from sluice.guardrails.check import CHECKS; list(CHECKS);"
        "from sluice.serving.contracts import load_build; load_build('assistant.app:build');"
        "from sluice.llm.resilience import open_chat; from sluice.llm.settings import load_providers;"
        "from pathlib import Path; from sluice.llm.model_files import Models;"
        "chat = load_providers(Path('config/providers.yaml'), roles=Models.roles()).chat;"
        "open_chat([one for one in chat if one.kind == 'local'], local_url='http://127.0.0.1:1')"
    )
    unwanted = ("sluice.evaluation", "sluice.testing", "assistant.metrics", "langchain.", "langchain_anthropic")
    unwanted += ("langchain_aws", "langchain_openai", "anthropic.", "boto3.", "botocore.", "openai.", "httpx.")
    unwanted += ("guardrails.", "torch.", "mlflow.", "dvc.", "sqlalchemy.")
    assert [name for name in modules if name.startswith(unwanted)] == []
    # Of an extra its checks and providers alone, with the packages around them.
    serving = [*packages("checks"), *packages("providers")]
    extras = [name for name in modules if name.startswith("sluice.extras")]
    assert [name for name in extras if not any(name.startswith(one) or one.startswith(name) for one in serving)] == []


def test_the_command_line_loads_no_application() -> None:
    modules = loaded("import sluice.cli")
    assert [name for name in modules if name.startswith(("assistant", "fastapi", "aiohttp"))] == []


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("assistant.ap:build", r"config/project.yaml: application: 'assistant.ap:build': no module 'assistant.ap'"),
        ("nobody.app:build", "no module 'nobody'"),
        ("assistant.app:buidl", r"assistant.app has no function 'buidl' \(did you mean 'build'\?\)"),
    ],
)
def test_an_application_that_is_not_there_is_named(name: str, fault: str) -> None:
    with pytest.raises(SluiceError, match=fault) as caught:
        load_build(name)
    assert "application: assistant.app:build" in caught.value.remedy


def test_an_application_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_application.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(SluiceError, match="needs a package that is not installed: no_such_package"):
        load_build("broken_application:build")
