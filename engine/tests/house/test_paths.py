"""Paths that pages, docstrings and comments name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sluice.core.project import load_project
from starter_files import ROOT

WITHOUT = load_project(ROOT / "config").without
pytestmark = pytest.mark.skipif(bool(WITHOUT), reason="pages and comments may name what was left out")

_FENCE = re.compile(r"^```(.*)\n(?:.*\n)*?```$", re.MULTILINE)
# Not `../x`, and not a path with a placeholder, as `k8s/overlays/ENV`.
_SPAN = re.compile(r"`((?!\.\.?/|.*/[A-Z]+\b)[\w.-]+(?:/[\w.-]+)*/?)`")
_MODULE = re.compile(r"(?<![\w/.<>-])(?:[a-z_]+/)+\w+\.py\b")
_PACKAGE = "engine/src/sluice/"
# Where the paths of a page begin, beside the top of the repository.
_BELOW = {"engine/CONTRIBUTING.md": "engine/", "engine/docs/architecture.md": _PACKAGE}
# Git does not have them: a wheel that is pinned, and what DVC writes.
_WRITTEN = {"config/engine.lock", "pipelines/dvc.lock"}


def missing(root: Path, page: str, text: str) -> list[str]:
    """Code spans of a page that begin with a folder of the repository and lead nowhere. New files of examples count as
    there."""
    new = {words for head in _FENCE.findall(text) for words in head.split()}
    found = []
    for span in _SPAN.findall(_FENCE.sub("", text)):
        places = [place for place in ("", _BELOW.get(page, "")) if (root / place / span.partition("/")[0]).is_dir()]
        if "/" in span and places and not any((root / place / span).exists() for place in places):
            found.append(span)
    return [span for span in found if span not in new | _WRITTEN]


def test_every_path_in_a_page_is_there(root: Path, tracked: list[str]) -> None:
    pages = [name for name in tracked if name.endswith(".md") and not name.startswith(("dvc-store/", "CHANGELOG"))]
    ignored = ("build/", "data/", ".sluice/", ".venv/", ".dvc/cache")
    found = {
        page: [span for span in missing(root, page, (root / page).read_text()) if not span.startswith(ignored)]
        for page in pages
    }
    assert {page: spans for page, spans in found.items() if spans} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`src/assistant/app.py`, `docs/`, `no/such.py`, `a/b`", []),
        ("```python src/assistant/new.py\nx\n```\n`src/assistant/new.py`", []),
        ("`src/assistant/gone.py`", ["src/assistant/gone.py"]),
    ],
)
def test_a_path_that_leads_nowhere_is_found(root: Path, text: str, found: list[str]) -> None:
    assert missing(root, "docs/page.md", text) == found


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


def test_the_layers_of_the_architecture_are_the_packages(root: Path) -> None:
    table = (root / "engine/docs/architecture.md").read_text().partition("## Layers")[2].partition("\n## ")[0]
    listed = re.findall(r"`(\w+)/`", " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `")))
    packages = {path.name for path in (root / _PACKAGE).iterdir() if (path / "__init__.py").is_file()}
    assert sorted(listed) == sorted(packages)
