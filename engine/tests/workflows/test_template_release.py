"""template-release.yml: a tag of the template, whose engine two machines pack into the same wheel."""

import hashlib
import shutil

import pytest

from sluice.core.project import load_project
from sluice.extras.upgrade.engine_wheel import contents
from sluice.template.owned import list_files, version_of, write_lists
from workflows.act import Run
from workflows.scratch import ROOT, Scratch, pushed
from workflows.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

VERSION = version_of(ROOT)
WHEEL = f"sluice_engine-{VERSION}-py3-none-any.whl"
FILES = [WHEEL, f"{WHEEL}.sha256"]


@pytest.fixture(scope="module")
def scratch(scratch: Scratch) -> Scratch:
    for name in ("policy", "support"):
        shutil.copytree(ROOT / "engine/tests" / name, scratch.root / "engine/tests" / name)
    project = scratch.root / "config/project.yaml"
    project.write_text("".join(one for one in project.open() if not one.startswith("template:")))
    scratch.git("add", "--all")
    write_lists(scratch.root, list_files(scratch.root))
    scratch.commit("The lists of the engine's files")
    return scratch


def tag(bare: World, name: str, number: int, *, private: bool = False, template: bool = True) -> Run:
    payload = pushed(bare.scratch, private=private) | {"ref": f"refs/tags/{name}"}
    payload["repository"]["is_template"] = template
    return bare._run("template-release.yml", "push", payload, number=number)


def test_a_tag_of_another_version_publishes_nothing(bare: World) -> None:
    run = tag(bare, "v99.0.0", 930)
    assert run.status == 1
    assert [name for name, result in run.results.items() if result == "failure"] == ["template-release/wheel"]
    assert f"error: the tag v99.0.0 is not that of the engine, which is {VERSION}" in run.job("wheel").log
    assert bare.github.releases.by_id == {}
    assert bare.kept("attested") == []


def test_a_tag_has_its_wheel_signed_and_beside_it(bare: World) -> None:
    assert load_project(bare.scratch.root / "config").template is None
    run = tag(bare, f"v{VERSION}", 931)
    assert run.status == 0
    assert run.results == dict.fromkeys([f"template-release/{job}" for job in ("wheel", "sign", "publish")], "success")
    wheel = bare.artifact("wheel", run=931) / WHEEL
    assert "packed twice, the same bytes" in run.job("publish").log
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert bare.kept("attested") == [f"sha256:{digest}"]
    assert digest in run.summary
    ((number, release),) = bare.github.releases.by_id.items()
    assert (release["tag_name"], release["draft"]) == (f"v{VERSION}", False)
    assert [one["name"] for one in release["assets"]] == FILES
    assert bare.github.releases.contents[number, WHEEL] == wheel.read_bytes()
    assert bare.github.releases.contents[number, FILES[1]].decode().split() == [digest, WHEEL]
    inside = contents(wheel)
    assert "engine/src/sluice/extras/upgrade/engine_wheel.py" in inside


def test_run_again_it_changes_nothing_and_a_private_template_is_not_signed(bare: World) -> None:
    before = bare.state()
    run = tag(bare, f"v{VERSION}", 932, private=True)
    assert run.status == 0
    assert run.job("publish").result == "success"
    assert "sign" not in {one.id for one in run.jobs.values() if one.result == "success"}
    assert "ATTESTATIONS=on signs in a private repository" in run.summary
    after = bare.state()
    assert after["releases"] == before["releases"]


def test_every_step_has_run(bare: World) -> None:
    assert bare.missed("template-release.yml") == set()
