from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.closures import Code
from sluice.core.workspace import Workspace
from sluice.release.manifest import Images, Manifest
from sluice.release.release_diff import markdown

from .conftest import verdict, write_evaluation

Make = Callable[..., tuple[Manifest, Path]]


@pytest.fixture
def edit(workspace: Workspace) -> Callable[[str, str, str], None]:
    def change(name: str, old: str, new: str) -> None:
        path = workspace.root / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


def parts(text: str) -> list[tuple[str, ...]]:
    """The rows of the table of parts."""
    _, _, table = text.partition("| part | before | after |\n|---|---|---|\n")
    return [tuple(line.strip("| ").split(" | ")) for line in table.partition("\n\n")[0].splitlines()]


def texts(text: str) -> list[str]:
    """Files whose differences are shown."""
    return re.findall(r"(?m)^### (.+)$", text)


def test_every_part_that_differs_is_named_and_nothing_else(
    workspace: Workspace, make: Make, edit: Callable[[str, str, str], None]
) -> None:
    before = make(adapter=None)
    edit("prompts/answer.prompt.yml", "{{passages}}", "Read: {{passages}}")
    edit("config/service.yaml", "does not say", "is silent")
    write_evaluation(workspace.build / "evaluation", f1=0.75)
    images = Images("ghcr.io/octo/app@sha256:" + "a" * 64)
    code = Code({"pyproject.toml": workspace.root / "pyproject.toml"})
    after = make(parent=before[0].id, data_digest="f" * 32, images=images, code=code)
    text = markdown(before, after)
    names = ["prompt answer", "data", "config/service.yaml", "adapter", "code", "image"]
    assert [name for name, _, _ in parts(text)] == names
    assert after[0].adapter
    assert ("adapter", "–", f"`{after[0].adapter.sha256[:12]}`") in parts(text)
    assert texts(text) == ["prompts/answer.prompt.yml", "config/service.yaml"]
    assert f"Compared with {before[0].id}." in text
    assert "| f1 | 0.5 | 0.75 | +0.25 |" in text
    assert "| judge | – | – |  |" in text
    assert '-    content: "{{passages}} {{question}}"\n+    content: "Read: {{passages}} {{question}}"' in text
    assert "-decline: The handbook does not say.\n+decline: The handbook is silent." in text


def test_the_same_release_has_no_difference(make: Make) -> None:
    release = make()
    text = markdown(release, release)
    assert (parts(text), texts(text)) == ([], [])
    assert "Nothing that is served." in text


def test_a_comment_is_a_text_and_no_part(make: Make, edit: Callable[[str, str, str], None]) -> None:
    before = make()
    edit("config/service.yaml", "decline:", "# said when nothing was found\ndecline:")
    text = markdown(before, make())
    assert (parts(text), texts(text)) == ([], ["config/service.yaml"])


def test_the_first_release_is_shown_as_it_is(make: Make) -> None:
    text = markdown(None, make())
    assert "The first release" in text
    assert "| f1 | 0.5 |" in text
    assert "| prompt answer | – |" in text


def test_what_a_prompt_holds_stays_inside_its_fence(make: Make, edit: Callable[[str, str, str], None]) -> None:
    before = make()
    edit("prompts/answer.prompt.yml", "description: Answers", "description: '```` # Owned` @all <b>'\n# Answers")
    text = markdown(before, make())
    fence = text[text.index("### prompts/answer.prompt.yml") :].splitlines()[2]
    assert fence == "`````diff"
    assert text.count("`````") == 2


def test_a_reason_of_a_gate_stays_inside_its_cell(make: Make) -> None:
    text = markdown(None, make(verdicts=[verdict(reason="a | b\n# c `d`")]))
    assert "| f1_holds | passed | `a b # c d` |" in text


def test_texts_that_are_too_long_are_cut(make: Make, workspace: Workspace) -> None:
    before = make()
    for number in range(60):
        (workspace.config / f"more{number}.yaml").write_text("key: |\n" + "  a line of settings\n" * 300)
    text = markdown(before, make())
    assert len(text) < 110_000
    assert "\n…\n" in text
    assert "Further texts do not fit here" in text
