import errno
import os
import shutil
from pathlib import Path

import pytest

from sluice.core.atomic_files import read_json
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.prompts import load_prompts
from sluice.release import staging
from sluice.release.manifest import load, load_judgement, verify
from sluice.release.verdict import judged
from unit.release.conftest import Make, verdict, write_evaluation


def left_over(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in workspace.releases.iterdir() if path.name.startswith("."))


def test_it_pins_what_serving_and_the_canary_s_judges_read_and_nothing_else(workspace: Workspace, make: Make) -> None:
    manifest, folder = make()
    assert folder == workspace.releases / manifest.id
    served = ["adapter.gguf", "config/models.yaml", "config/service.yaml"]
    served += ["index/chunks.jsonl", "index/index.json", "index/vectors.npy"]
    assert sorted(manifest.files) == [*served, "judging/eval.jsonl", "judging/gates.yaml", "prompts/answer.prompt.yml"]
    assert manifest.files["adapter.gguf"] == digest_of_file(workspace.build / "adapter/adapter.gguf")
    assert manifest.prompts == {"answer": load_prompts(workspace.prompts)["answer"].digest}
    assert manifest.index.chunker == {"name": "words", "size": 64}
    assert manifest.models["chat"].sha256 == "1a" * 32
    judgement = load_judgement(folder)
    assert judgement.evaluation.metrics == {"f1": 0.5, "latency_p95_ms": 820.0, "judge": None}
    assert "cores" in judgement.machine
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


def test_the_same_judgement_of_the_same_content_keeps_its_time_and_its_later_files(make: Make) -> None:
    first, folder = make()
    noted = folder / "judgement.json"
    fields = load_judgement(folder).model_dump(exclude={"digest"})
    noted.write_bytes(judged({**fields, "created": "2026-01-01T00:00:00+00:00"}).to_bytes())
    before = noted.read_bytes()
    (folder / "rehearsal.json").write_text("{}")
    again, same = make()
    assert (again, same, noted.read_bytes()) == (first, folder, before)
    assert (folder / "rehearsal.json").exists()


def test_another_judgement_replaces_the_record_and_no_file_that_serves(workspace: Workspace, make: Make) -> None:
    first, folder = make()
    (folder / "rehearsal.json").write_text("{}")
    served = {name: (folder / name).stat().st_ino for name in ("release.json", *first.files)}
    write_evaluation(workspace.build / "evaluation", f1=0.75)
    again, same = make(commit="b" * 40, verdicts=[verdict(passed=False)])
    assert (again, same) == (first, folder)
    judgement = load_judgement(folder)
    assert (judgement.commit, judgement.refused_by) == ("b" * 40, ["f1_holds"])
    assert read_json(folder / "evaluation" / "summary.json")["metrics"]["f1"]["value"] == 0.75
    assert not (folder / "rehearsal.json").exists()
    assert {name: (folder / name).stat().st_ino for name in served} == served
    verify(folder, first)
    assert left_over(workspace) == []


def test_a_preview_names_the_release_and_publishes_and_removes_nothing(workspace: Workspace, make: Make) -> None:
    adapter = workspace.build / "adapter" / "adapter.gguf"
    expected = staging.preview(workspace, data_digest="e" * 32, adapter=adapter)
    assert list(workspace.releases.iterdir()) == []
    manifest, folder = make()
    before = (folder / "judgement.json").read_bytes()
    assert staging.preview(workspace, data_digest="e" * 32, adapter=adapter) == expected == manifest
    assert (folder / "judgement.json").read_bytes() == before


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


@pytest.mark.parametrize("name", ["index/index.json", "adapter/adapter.gguf", "evaluation/summary.json"])
def test_a_missing_input_is_named_and_leaves_nothing(workspace: Workspace, make: Make, name: str) -> None:
    workspace.releases.mkdir(parents=True)
    (workspace.build / name).unlink()
    with pytest.raises(SluiceError, match=f"build/{name}: no such file"):
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


def test_adapters_of_extras_are_pinned_too(workspace: Workspace, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
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
