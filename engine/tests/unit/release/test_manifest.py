from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.closures import Code
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.release.manifest import Images, Manifest, identified, load, verify

Make = Callable[..., tuple[Manifest, Path]]


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((folder / "release.json").read_text())
    change(document)
    (folder / "release.json").write_text(json.dumps(document))


def test_load_gives_back_what_was_made(make: Make) -> None:
    manifest, folder = make()
    assert load(folder) == manifest
    assert (folder / "release.json").read_bytes() == manifest.to_bytes()
    verify(folder, manifest)


def test_the_id_follows_from_content_and_not_from_time_or_commit(make: Make) -> None:
    manifest, _ = make()
    fields = manifest.model_dump(exclude={"id"})
    assert identified({**fields, "created": "2001-01-01T00:00:00+00:00", "commit": "f" * 40}).id == manifest.id
    assert identified({**fields, "data": {"digest": "other"}}).id != manifest.id
    assert identified({**fields, "parent": "r-" + 12 * "a"}).id != manifest.id


def test_the_served_digest_ignores_how_it_was_judged(make: Make) -> None:
    manifest, _ = make()
    fields = manifest.model_dump(exclude={"id"})
    assert identified({**fields, "parent": "r-" + 12 * "a", "gates": []}).served_digest() == manifest.served_digest()
    changed = identified({**fields, "prompts": {"answer": "other"}})
    assert changed.served_digest() != manifest.served_digest()


def test_a_changed_manifest_is_refused(make: Make) -> None:
    _, folder = make()
    rewritten(folder, lambda document: document["evaluation"]["metrics"].update(f1=0.99))
    with pytest.raises(SluiceError, match="but its content is r-"):
        load(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "prompts/../../x", "./prompts/a"])
def test_a_path_that_leaves_the_folder_is_refused(make: Make, name: str) -> None:
    _, folder = make()
    rewritten(folder, lambda document: document["files"].update({name: "0" * 64}))
    with pytest.raises(ValidationErrors, match="not a plain path inside the release folder"):
        load(folder)


def test_unknown_and_missing_keys_are_named(make: Make) -> None:
    _, folder = make()
    rewritten(folder, lambda document: (document.pop("data"), document.update(imgae="x"))[0])
    with pytest.raises(ValidationErrors) as caught:
        load(folder)
    assert "data: Field required" in str(caught.value)
    assert "imgae: unknown key (did you mean 'image'?)" in str(caught.value)


def test_a_folder_without_a_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"release\.json: no such file"):
        load(tmp_path)


def test_verify_names_all_faults_at_once(make: Make) -> None:
    manifest, folder = make()
    (folder / "prompts/answer.prompt.yml").write_text("changed")
    (folder / "index/vectors.npy").unlink()
    (folder / "adapter.gguf").write_bytes(b"")
    (folder / "config/extra.yaml").write_text("a: 1")
    (folder / "prompts/sub").mkdir()
    (folder / "prompts/sub/more.prompt.yml").write_text("x")
    (folder / "report.html").write_text("made later, allowed")
    with pytest.raises(ValidationErrors) as caught:
        verify(folder, manifest)
    text = str(caught.value)
    assert len(caught.value.faults) == 5
    assert "prompts/answer.prompt.yml: sha256 is" in text
    assert "index/vectors.npy: missing" in text
    assert "adapter.gguf: sha256 is" in text
    assert "config/extra.yaml: not in the manifest" in text
    assert "prompts/sub/more.prompt.yml: not in the manifest" in text


def test_the_image_is_part_of_the_content_and_of_what_is_served(make: Make) -> None:
    image = "ghcr.io/octo/app@sha256:" + 64 * "a"
    without, with_image = make()[0], make(images=Images(image))[0]
    assert "image" not in json.loads(without.to_bytes())
    assert json.loads(with_image.to_bytes())["image"] == image
    assert without.id != with_image.id
    assert without.served_digest() != with_image.served_digest()
    judged = make(images=Images(image, image))[0]
    assert judged.id != with_image.id
    assert judged.served_digest() == with_image.served_digest()


def test_code_is_part_of_the_content_and_of_what_is_served(make: Make, workspace: Workspace) -> None:
    without, folder = make()
    assert "code" not in json.loads(without.to_bytes())
    assert not (folder / "code.json").exists()
    here, there = code(workspace, "here"), code(workspace, "there")
    first, folder = make(code=here)
    assert json.loads(first.to_bytes())["code"] == {"serve": here.digest}
    assert json.loads((folder / "code.json").read_text()) == {"files": here.files}
    assert "code.json" in first.files
    second, _ = make(code=there)
    assert len({without.id, first.id, second.id}) == 3
    assert len({one.served_digest() for one in (without, first, second)}) == 3
    verify(folder, first)


def test_a_release_from_before_code_was_pinned_is_read_with_its_id(make: Make) -> None:
    manifest, folder = make()
    assert manifest.id == "r-2933cc07448a"  # by the code of that time
    assert load(folder) == manifest
    verify(folder, manifest)


def test_the_list_of_code_is_pinned(make: Make, workspace: Workspace) -> None:
    manifest, folder = make(code=code(workspace, "here"))
    (folder / "code.json").write_text("{}")
    with pytest.raises(ValidationErrors, match=r"code\.json: sha256 is"):
        verify(folder, manifest)
    old, folder = make()
    (folder / "code.json").write_text("{}")
    with pytest.raises(ValidationErrors, match=r"code\.json: not in the manifest"):
        verify(folder, old)


def code(workspace: Workspace, text: str) -> Code:
    path = workspace.root / f"{text}.py"
    path.write_text(text)
    return Code({"sluice/serving/http_api.py": path})
