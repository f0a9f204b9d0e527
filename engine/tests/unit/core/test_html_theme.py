from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from sluice.core.html_theme import page_environment


def test_a_template_has_the_style_sheet_and_escapes(tmp_path: Path) -> None:
    (tmp_path / "page.html.j2").write_text('<style>{% include "house.css" %}</style>{{ text }}')
    page = page_environment(tmp_path).get_template("page.html.j2").render(text="<b>")
    assert "prefers-color-scheme: dark" in page
    assert page.endswith("&lt;b&gt;")


def test_a_name_that_is_missing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.html.j2").write_text("{{ text }}")
    with pytest.raises(UndefinedError):
        page_environment(tmp_path).get_template("page.html.j2").render()
