"""The jobs of a release on machines that share nothing but an OCI registry and a repository of git."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.release.manifest import load
from unit.extras.registry.registries import RegistryServer, bare_repository, registry_server
from unit.jobs.test_release_steps import ENV, Road, github, road
from unit.release.conftest import small_models, workspace

__all__ = ["github", "road", "small_models", "workspace"]


@pytest.fixture
def server(road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryServer]:
    with registry_server(tmp_path / "server") as running:
        road.environment["SLUICE_ARTEFACTS"] = running.address
        monkeypatch.setenv("SLUICE_ARTEFACTS", running.address)
        yield running


def test_releases_are_made_listed_and_gone_back_from_by_fresh_machines(
    road: Road, server: RegistryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    road.whole()
    first = road.outputs()["release"]
    road.commit("config/service.yaml", "decline: Nobody knows.\n")
    road.whole()
    second = road.outputs()["release"]
    road.whole()  # the same jobs again
    assert road.made == 2
    assert [id for _, id in road.events()] == [first, first, second, second]
    road.fresh()
    capsys.readouterr()
    assert road.run("release", "list", *ENV) == 0
    assert [line.split()[:1] for line in capsys.readouterr().out.splitlines() if second in line][-1] == ["*"]
    assert road.run("release", "verify", second) == 0
    assert "artifact store: verified" in capsys.readouterr().out
    road.fresh()
    assert road.run("release", "rollback", "previous", *ENV) == 0
    assert road.aliases == {"champion": first}
    assert not (road.workspace.root / ".sluice" / "record" / "production").exists()
    shutil.rmtree(server.record)
    bare_repository(server.record)  # the record is there and nowhere else
    road.fresh()
    capsys.readouterr()
    assert road.run("release", "list", *ENV) == 0
    assert capsys.readouterr().out == ""


def test_a_pushed_release_is_fetched_by_its_digest_without_the_record(
    road: Road, server: RegistryServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pod has no repository."""
    road.whole()
    release = road.outputs()["release"]
    capsys.readouterr()
    assert road.run("release", "push", release) == 0
    said = capsys.readouterr().out
    assert ", 0 of them new" in said
    shutil.rmtree(server.record)
    address = server.address.partition("#")[0]
    into = tmp_path / "release"
    assert road.run("release", "fetch", said.split()[-1], "--from", address, "--into", str(into)) == 0
    assert load(into).id == release
