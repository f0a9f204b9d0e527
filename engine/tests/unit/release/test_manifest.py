import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.closures import Code
from sluice.core.digests import canonical_json
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.release import staging
from sluice.release.manifest import Images, identified, load, load_judgement, verify
from sluice.release.verdict import judged
from unit.release.conftest import Later, Make, miniature, release_of, verdict, write_evaluation


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None], name: str = "release.json") -> None:
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))


def test_clones_that_build_the_same_have_one_release_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = miniature(tmp_path / "one"), miniature(tmp_path / "other")
    manifest, folder = release_of(one)
    summary = write_evaluation(other.build / "evaluation", f1=0.75) / "summary.json"
    summary.write_text(summary.read_text().replace("820.0", "410.0"))  # a faster machine
    monkeypatch.setattr(staging, "datetime", Later)
    words = {"commit": "f" * 40, "parent": "r-" + 12 * "a", "verdicts": [verdict(passed=False)]}
    again, there = release_of(other, **words)
    assert again == manifest
    assert (there / "release.json").read_bytes() == (folder / "release.json").read_bytes()
    first, second = load_judgement(folder), load_judgement(there)
    assert (first.release, first.commit, first.parent, first.refused_by) == (manifest.id, "0" * 40, None, [])
    assert (second.commit, second.parent, second.refused_by) == (words["commit"], words["parent"], ["f1_holds"])
    assert (first.evaluation.metrics["latency_p95_ms"], second.evaluation.metrics["latency_p95_ms"]) == (820.0, 410.0)
    assert second.created > first.created
    prompt = other.prompts / "answer.prompt.yml"
    prompt.write_text(prompt.read_text().replace("Answers", "answers"))  # one byte
    assert release_of(other, **words)[0].id != manifest.id


# Of a release from before judgement.json, as the code of that time wrote it.
EARLIER = {
    "id": "r-a37405a11b09",
    "created": "2026-01-01T00:00:00+00:00",
    "commit": "0" * 40,
    "parent": None,
    "prompts": {"answer": "1" * 64},
    "data": {"digest": "2" * 64},
    "index": {"digest": "3" * 64, "embedder": {}, "chunker": {}},
    "models": {},
    "adapter": None,
    "config": {},
    "files": {},
    "evaluation": {"cases_digest": "4" * 64, "metrics": {"f1": 0.5}},
    "gates": [verdict().model_dump(mode="json")],
}


def test_a_release_from_before_there_were_judgements_is_read_with_its_id(tmp_path: Path) -> None:
    (tmp_path / "release.json").write_bytes(canonical_json(EARLIER))
    manifest, judgement = load(tmp_path), load_judgement(tmp_path)
    assert manifest.id == EARLIER["id"]
    assert manifest.to_bytes() == canonical_json(EARLIER)
    verify(tmp_path, manifest)
    assert (judgement.release, judgement.created, judgement.gates) == (manifest.id, EARLIER["created"], (verdict(),))
    content = {
        key: EARLIER[key] for key in EARLIER if key not in ("created", "commit", "parent", "evaluation", "gates")
    }
    assert identified(content).served_digest() == manifest.served_digest()
    rewritten(tmp_path, lambda document: document["gates"][0].update(passed=False))
    with pytest.raises(SluiceError, match="but its content is r-"):
        load(tmp_path)


def test_a_changed_manifest_and_a_changed_judgement_are_refused(make: Make) -> None:
    manifest, folder = make()
    judgement = load_judgement(folder)
    rewritten(folder, lambda document: document["gates"][0].update(passed=False), "judgement.json")
    with pytest.raises(SluiceError, match=r"judgement\.json: its digest is not that of its content"):
        load_judgement(folder)
    other = judged({**judgement.model_dump(exclude={"digest"}), "release": "r-" + 12 * "a"})
    (folder / "judgement.json").write_bytes(other.to_bytes())
    with pytest.raises(SluiceError, match=f"about another release than {manifest.id}"):
        load_judgement(folder)
    rewritten(folder, lambda document: document.update(earlier={"created": "never"}))
    with pytest.raises(ValidationErrors, match="'earlier' is no key"):
        load(folder)
    rewritten(folder, lambda document: (document.pop("earlier"), document["data"].update(digest="other")))
    with pytest.raises(SluiceError, match="but its content is r-"):
        load(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "prompts/../../x", "./prompts/a"])
def test_a_path_that_leaves_the_folder_is_refused(make: Make, name: str) -> None:
    _, folder = make()
    rewritten(folder, lambda document: document["files"].update({name: "0" * 64}))
    with pytest.raises(ValidationErrors, match="not a plain path inside the release folder"):
        load(folder)


def test_verify_names_all_faults_at_once(make: Make) -> None:
    manifest, folder = make()
    (folder / "prompts/answer.prompt.yml").write_text("changed")
    (folder / "index/vectors.npy").unlink()
    (folder / "adapter.gguf").write_bytes(b"")
    (folder / "config/extra.yaml").write_text("a: 1")
    (folder / "prompts/sub").mkdir()
    (folder / "prompts/sub/more.prompt.yml").write_text("x")
    (folder / "code.json").write_text("{}")
    (folder / "report.html").write_text("made later, allowed")
    with pytest.raises(ValidationErrors) as caught:
        verify(folder, manifest)
    text = str(caught.value)
    assert len(caught.value.faults) == 6
    assert "prompts/answer.prompt.yml: sha256 is" in text
    assert "index/vectors.npy: missing" in text
    assert "adapter.gguf: sha256 is" in text
    assert "config/extra.yaml: not in the manifest" in text
    assert "code.json: not in the manifest" in text
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


def code(workspace: Workspace, text: str) -> Code:
    path = workspace.root / f"{text}.py"
    path.write_text(text)
    return Code({"sluice/serving/http_api.py": path})
