"""One name for another: every form of it, nothing else, and back again without a difference."""

from __future__ import annotations

import pytest

from sluice.core.errors import SluiceError
from sluice.template.init import read_texts, tracked
from sluice.template.names import Names, load_record
from sluice.template.rename import Renamer, keeps
from unit.template.conftest import ROOT

# Spelt in parts: a repository that has taken other names renames this file as well.
OLD = Names(
    name="wei" + "r",
    organisation="example",
    image="ghcr.io/example/wei" + "r",
    region="eu-" + "north-1",
    environments=("re" + "hearsing", "perf" + "orming"),
)
NEW = Names(
    name="zephyr-desk",
    organisation="acme-labs",
    image="registry.acme.test/team/zephyr",
    region="ap-" + "south-2",
    environments=("uat", "prod"),
)
W = OLD.name


def renamed(text: str, path: str = "docs/page.md") -> str:
    return Renamer(OLD, NEW).text(path, text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"from {W}.core.errors import {W.title()}Error", "from zephyr_desk.core.errors import ZephyrDeskError"),
        (f"import {W}", "import zephyr_desk"),
        (f'f"{W}.{{part}}"', 'f"zephyr_desk.{part}"'),
        (f"def {W}(*words): ...", "def zephyr_desk(*words): ..."),
        (f"assert {W}('keys') == 0", "assert zephyr_desk('keys') == 0"),
        (f"`{W}.guard.verdict`", "`zephyr_desk.guard.verdict`"),
        (f"https://{W}.{OLD.environments[0]}.example.com", "https://zephyr-desk.uat.example.com"),
        (f"from {W} import cli", "from zephyr_desk import cli"),
        (f'packages = ["src/{W}"]', 'packages = ["src/zephyr_desk"]'),
        (f'root_package = "{W}"', 'root_package = "zephyr_desk"'),
        (f'{W} = "{W}.cli:main"', 'zephyr-desk = "zephyr_desk.cli:main"'),
        (f'root / "engine" / "src" / "{W}" / "app"', 'root / "engine" / "src" / "zephyr_desk" / "app"'),
        (f'logging.getLogger("{W}")', 'logging.getLogger("zephyr_desk")'),
        (f"rate({W}_requests_total[5m])", "rate(zephyr_desk_requests_total[5m])"),
        (rf'r"\b{W}_[a-z]+"', r'r"\bzephyr_desk_[a-z]+"'),
        (rf'"done\n{W} serve"', r'"done\nzephyr-desk serve"'),
        (f".venv/bin/{W} serve", ".venv/bin/zephyr-desk serve"),
        (f"{W.upper()}_CACHE and {W.upper()}", "ZEPHYR_DESK_CACHE and ZEPHYR_DESK"),
        (f"{W}-stable, x-{W}-release, .{W}/run", "zephyr-desk-stable, x-zephyr-desk-release, .zephyr-desk/run"),
        (f"{W.title()} is one; {W.title()}Down fires", "Zephyr Desk is one; ZephyrDeskDown fires"),
        (f"newName: ghcr.io/example/{W}", "newName: registry.acme.test/team/zephyr"),
        (f"https://github.com/example/{W}/issues", "https://github.com/acme-labs/zephyr-desk/issues"),
        ("* @example/maintainers", "* @acme-labs/maintainers"),
        (f"--region {OLD.region}", f"--region {NEW.region}"),
        (f"k8s/overlays/{OLD.environments[0]} --env {OLD.environments[1]}", "k8s/overlays/uat --env prod"),
        (f"namespace: {W}-{OLD.environments[0]}", "namespace: zephyr-desk-uat"),
        (f"environment: {OLD.environments[1]}", "environment: prod"),
        (f"`{OLD.environments[0]}` and '{OLD.environments[1]}'", "`uat` and 'prod'"),
    ],
)
def test_each_form_gets_its_own(old: str, new: str) -> None:
    assert renamed(old) == new


@pytest.mark.parametrize(
    "text",
    [
        f"{W}s, {W}d, un{W}, {W.title()}dly and {W}2",  # words that contain the name
        "for example, docs.example.com, registry.example/x",  # no organisation
        f"{OLD.region}a and x{OLD.region}",
        f"{OLD.environments[0]} a play, src/x/{OLD.environments[0]}.py, import {OLD.environments[0]}",  # no environment
    ],
)
def test_other_words_stay(text: str) -> None:
    assert renamed(text) == text


def test_every_word_of_a_workflow_that_is_an_environment() -> None:
    assert (
        renamed(f"options: [{OLD.environments[0]}, {OLD.environments[1]}]", ".github/workflows/x.yml")
        == "options: [uat, prod]"
    )


@pytest.mark.parametrize("path", ["CHANGELOG.md", "LICENSE", "dvc-store/files/md5/00/0", "engine/requirements/dev.txt"])
def test_what_is_the_template_s_is_kept(path: str) -> None:
    assert renamed(f"{W} {W.title()}", path) == f"{W} {W.title()}"
    assert Renamer(OLD, NEW).path(path) == path


def test_paths_are_renamed_by_the_same_rules() -> None:
    renamer = Renamer(OLD, NEW)
    assert renamer.path(f"src/{W}/core/x.py") == "src/zephyr_desk/core/x.py"
    assert renamer.path(f"engine/k8s/base/networkpolicy-{W}.yaml") == "engine/k8s/base/networkpolicy-zephyr-desk.yaml"
    assert renamer.path(f"engine/tests/golden/k8s/{OLD.environments[0]}.yaml") == "engine/tests/golden/k8s/uat.yaml"


def test_a_name_that_is_a_word_of_the_repository_is_refused() -> None:
    renamer = Renamer(OLD, NEW)
    renamer.require_free({"a.md": "nothing of the kind", "CHANGELOG.md": "zephyr-desk"})
    with pytest.raises(SluiceError, match=r"--name zephyr-desk: .*1 files such as b\.md"):
        renamer.require_free({"b.md": "the zephyr_desk_total"})
    with pytest.raises(SluiceError, match="--environments uat"):
        renamer.require_free({"b.md": "deploy --env uat"})


def test_this_whole_repository_there_and_back_again() -> None:
    """Whatever is written in it now and later: no form of the name is left, and the way back gives every byte."""
    now = load_record(ROOT).names
    away = NEW.model_copy(update={"environments": ("ring-" + "one", "ring-" + "two")})
    texts = read_texts(ROOT, [path for path in tracked(ROOT) if not path.startswith("engine/tests/unit/template/")])
    there = Renamer(now, away)
    there.require_free(texts)
    back = Renamer(away, now)
    left, differing = [], []
    for path, text in texts.items():
        moved, changed = there.path(path), there.text(path, text)
        if (back.path(moved), back.text(moved, changed)) != (path, text):
            differing.append(path)
        if not keeps(path) and any(form in changed for form in (now.name, now.variable, now.class_name)):
            left.append(path)
    assert not differing
    assert not left, "a form of the name that the rules of fork/rename.py do not know"
