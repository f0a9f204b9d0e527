from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.prompts import load_prompts
from sluice.release import staging
from sluice.release.manifest import Manifest, load, verify

Make = Callable[..., tuple[Manifest, Path]]


def left_over(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in workspace.releases.iterdir() if path.name.startswith("."))


def test_it_pins_what_serving_and_the_judges_of_its_canary_read_and_nothing_else(
    workspace: Workspace, make: Make
) -> None:
    manifest, folder = make()
    assert folder == workspace.releases / manifest.id
    assert sorted(manifest.files) == [
        "adapter.gguf",
        "config/models.yaml",
        "config/service.yaml",
        "index/chunks.jsonl",
        "index/index.json",
        "index/vectors.npy",
        "judging/eval.jsonl",
        "judging/gates.yaml",
        "prompts/answer.prompt.yml",
    ]
    assert manifest.files["adapter.gguf"] == digest_of_file(workspace.build / "adapter/adapter.gguf")
    assert manifest.prompts == {"answer": load_prompts(workspace.prompts)["answer"].digest}
    assert manifest.index.chunker == {"name": "words", "size": 64}
    assert manifest.models["chat"].sha256 == "1a" * 32
    assert manifest.evaluation.metrics == {"f1": 0.5, "latency_p95_ms": 820.0, "judge": None}
    assert (folder / "evaluation/cases.jsonl").is_file()
    assert (folder / "training.json").is_file()
    assert left_over(workspace) == []


def test_of_the_project_only_the_application_is_pinned(workspace: Workspace, make: Make) -> None:
    file = workspace.config / "project.yaml"
    shutil.copy(Path(__file__).parents[4] / "config" / "project.yaml", file)
    first, folder = make()
    assert (folder / "config/project.yaml").read_text() == "application: assistant.app:build\n"
    file.write_text(file.read_text().replace("eu-west-1", "eu-north-1"))
    assert make()[0].id == first.id
    file.write_text(file.read_text().replace("assistant.app:build", "assistant.other:build"))
    assert make()[0].id != first.id


def test_the_same_content_is_reused_with_its_first_time_and_its_later_files(make: Make) -> None:
    first, folder = make(commit="a" * 40)
    (folder / "rehearsal.json").write_text("{}")
    again, same = make(commit="b" * 40)
    assert same == folder
    assert again == first
    assert again.commit == "a" * 40
    assert (folder / "rehearsal.json").exists()


def test_a_damaged_release_of_the_same_id_is_replaced(workspace: Workspace, make: Make) -> None:
    manifest, folder = make()
    (folder / "adapter.gguf").write_bytes(b"broken")
    again, same = make()
    assert (again.id, same) == (manifest.id, folder)
    verify(folder, load(folder))
    assert left_over(workspace) == []


def test_a_changed_index_is_found_before_it_is_pinned(workspace: Workspace, make: Make) -> None:
    (workspace.build / "index/chunks.jsonl").write_text("other")
    with pytest.raises(SluiceError, match=r"chunks\.jsonl: does not match the sha256 in index\.json"):
        make()
    assert left_over(workspace) == []


@pytest.mark.parametrize(
    "name", ["build/index/index.json", "build/adapter/adapter.gguf", "build/evaluation/summary.json"]
)
def test_a_missing_input_is_named_and_leaves_nothing(workspace: Workspace, make: Make, name: str) -> None:
    workspace.releases.mkdir(parents=True)
    (workspace.root / name).unlink()
    with pytest.raises(SluiceError, match=f"{name}: no such file"):
        make()
    assert list(workspace.releases.iterdir()) == []


def test_a_full_disk_leaves_no_draft(workspace: Workspace, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(SluiceError, match="no space left on the disk") as caught:
        make()
    assert caught.value.remedy
    assert list(workspace.releases.iterdir()) == []


def test_drafts_of_killed_processes_are_removed_and_those_of_living_ones_kept(workspace: Workspace, make: Make) -> None:
    dead, alive = workspace.releases / ".draft-999999999", workspace.releases / f".draft-{os.getppid()}"
    for folder in (dead, alive):
        folder.mkdir(parents=True)
    make()
    assert not dead.exists()
    assert alive.exists()


def test_a_refused_candidate_is_made_with_its_verdicts(make: Make) -> None:
    passing, _ = make()
    failed = passing.gates[0].model_copy(update={"passed": False, "cases": ("q1",)})
    manifest, folder = make(verdicts=[failed])
    assert manifest.id != passing.id
    assert not manifest.passed
    assert load(folder).gates[0].cases == ("q1",)


def test_the_forms_of_the_adapter_that_extras_write_are_pinned_as_it_is(
    workspace: Workspace, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_form(draft: Path, given: Workspace) -> None:
        assert given is workspace
        (draft / "peft").mkdir()
        (draft / "peft" / "weights").write_bytes((draft / "adapter.gguf").read_bytes()[::-1])

    plain, _ = make()
    monkeypatch.setattr(staging, "hooks", lambda name: {"other": write_form} if name == "adapter_forms" else {})
    manifest, folder = make()
    assert set(manifest.files) - set(plain.files) == {"peft/weights"}
    assert manifest.id != plain.id
    assert make(adapter=None)[0].files.keys() & {"adapter.gguf", "peft/weights"} == set()
    (folder / "peft" / "weights").write_bytes(b"swapped")
    (folder / "peft" / "more").touch()
    with pytest.raises(SluiceError, match=r"(?s)peft/weights: sha256 is .*peft/more: not in the manifest"):
        verify(folder, manifest)
