# ruff: noqa: F811 - a fixture that is imported is named by the tests
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sluice import cli
from sluice.core.errors import SluiceError
from sluice.extras.engine_tests.cli import pack_twice, publish
from sluice.extras.upgrade.engine_wheel import contents, pinned
from support.git import git
from unit.github.conftest import environment  # noqa: F401 - a fixture
from unit.github.fake_github import REPOSITORY, FakeGitHub
from unit.template.conftest import Template

NAME = "sluice_engine-0.1.0-py3-none-any.whl"
FILES = [NAME, f"{NAME}.sha256"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(tmp_path_factory.mktemp("template") / "template")


@pytest.fixture(scope="module")
def packed(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_twice(template.root, "v0.1.0", tmp_path_factory.mktemp("packed") / "dist")


@pytest.fixture
def wheel(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed.parent, tmp_path / "dist")) / NAME


def published(github: FakeGitHub) -> list[tuple[str, bool, list[str]]]:
    return [
        (one["tag_name"], one["draft"], [asset["name"] for asset in one["assets"]])
        for one in github.releases.by_id.values()
    ]


def release(github: FakeGitHub, **facts: Any) -> int:
    made = {"tag_name": "v0.1.0", "draft": False, "body": "Much is new.", **facts}
    _, answer = github.releases.answer("POST", f"/repos/{REPOSITORY}/releases", made)
    return int(answer["id"])


def test_the_wheel_has_its_sha256_beside_it_and_is_packed_again(template: Template, wheel: Path) -> None:
    assert contents(wheel) == pinned(template.root)
    before = {path.name: path.read_bytes() for path in wheel.parent.iterdir()}
    assert sorted(before) == FILES
    checked = subprocess.run(["sha256sum", "--check", f"{NAME}.sha256"], cwd=wheel.parent, check=False)
    assert checked.returncode == 0
    assert pack_twice(template.root, "v0.1.0", wheel.parent) == wheel
    assert {path.name: path.read_bytes() for path in wheel.parent.iterdir()} == before


def test_a_tag_of_another_version_is_refused(template: Template, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"v0\.1\.1 is not that of the engine, which is 0\.1\.0"):
        pack_twice(template.root, "v0.1.1", tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_what_another_machine_has_packed_must_be_the_same(template: Template, wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"x")
    before = {path.name: path.read_bytes() for path in wheel.parent.iterdir()}
    with pytest.raises(SluiceError, match=r"packed again it is [0-9a-f]{64}, not [0-9a-f]{64}"):
        pack_twice(template.root, "v0.1.0", wheel.parent)
    assert {path.name: path.read_bytes() for path in wheel.parent.iterdir()} == before


def test_it_is_attached_to_the_release_of_its_tag(
    template: Template,
    wheel: Path,
    github: FakeGitHub,
    environment: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(template.root)
    call = ["engine", "publish", "v0.1.0", "--out", str(wheel.parent)]
    cli.command()([*call, "--dry-run"], standalone_mode=False)
    assert published(github) == []
    cli.command()(call, standalone_mode=False)
    assert published(github) == [("v0.1.0", False, FILES)]
    ((number, one),) = github.releases.by_id.items()
    assert github.releases.tags == {"v0.1.0": git(template.root, "rev-parse", "HEAD")}
    assert github.releases.contents[number, NAME] == wheel.read_bytes()
    assert wheel.with_name(FILES[1]).read_text().split()[0] in one["body"]
    github.asked.clear()
    cli.command()(call, standalone_mode=False)
    assert {method for method, _ in github.asked} == {"GET"}, "there is nothing left to do"


def test_a_tag_is_never_moved(template: Template, wheel: Path, github: FakeGitHub, environment: Any) -> None:
    github.releases.tags["v0.1.0"] = "a" * 40
    github.releases.refused = lambda _: True
    with pytest.raises(SluiceError):
        publish(template.root, "v0.1.0", wheel, environment())
    assert github.releases.tags == {"v0.1.0": "a" * 40}


def test_notes_of_a_person_stay(template: Template, wheel: Path, github: FakeGitHub, environment: Any) -> None:
    number = release(github)
    github.releases.tags["v0.1.0"] = git(template.root, "rev-parse", "HEAD")
    for _ in range(2):
        publish(template.root, "v0.1.0", wheel, environment())
        assert published(github) == [("v0.1.0", False, FILES)]
        body = github.releases.by_id[number]["body"]
        assert body.startswith("Much is new.\n\nThe engine as a wheel")
        assert body.count("sha256:") == 1


def test_a_wheel_that_is_published_is_never_replaced(
    template: Template,
    wheel: Path,
    github: FakeGitHub,
    environment: Any,
    tmp_path: Path,
) -> None:
    publish(template.root, "v0.1.0", wheel, environment())
    before = dict(github.releases.contents), published(github)
    other = Path(shutil.copytree(wheel.parent, tmp_path / "other")) / NAME
    other.write_bytes(wheel.read_bytes()[:-1] + b"x")
    assert other.stat().st_size == wheel.stat().st_size, "GitHub would say the same of both, but for the digest"
    with pytest.raises(SluiceError, match=rf"v0\.1\.0 has another {NAME} already") as caught:
        publish(template.root, "v0.1.0", other, environment())
    assert "raise the version" in str(caught.value.remedy)
    assert (dict(github.releases.contents), published(github)) == before
