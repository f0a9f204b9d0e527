"""The folder tree is the architecture: the import contract holds, covers every package, and does bite."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    env = os.environ | {"PYTHONPATH": str(root / "engine" / "src")}
    return subprocess.run(
        [program, "--no-cache"], cwd=root / "engine", env=env, capture_output=True, text=True, check=False
    )


def layers(root: Path) -> list[str]:
    contracts = tomllib.loads((root / "engine" / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    lines = [layer for contract in contracts if contract["type"] == "layers" for layer in contract["layers"]]
    return [name.strip(" ()") for line in lines for name in line.replace(":", "|").split("|")]


def test_every_module_imports_only_what_lies_below_it(root: Path) -> None:
    done = lint_imports(root)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_part_of_the_package_has_its_layer(root: Path) -> None:
    package = root / "engine" / "src" / "sluice"
    parts = {f"sluice.{file.stem}" for file in package.glob("*.py") if file.stem != "__init__"}
    parts |= {f"sluice.{file.parent.name}" for file in package.glob("*/__init__.py")}
    assert parts <= set(layers(root))


def test_an_import_from_below_is_found(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "engine" / "src", tmp_path / "engine" / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "engine" / "pyproject.toml", tmp_path / "engine")
    with (tmp_path / "engine" / "src" / "sluice" / "core" / "errors.py").open("a") as module:
        module.write("\nimport sluice.prompts\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert "sluice.core is not allowed to import sluice.prompts" in done.stdout
