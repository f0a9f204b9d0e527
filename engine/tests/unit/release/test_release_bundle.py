from pathlib import Path

import pytest

from sluice.core.closures import Code
from sluice.core.errors import ValidationErrors
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.llm.model_files import ModelSpec
from sluice.release import release_bundle
from sluice.serving.settings import ServiceSettings
from unit.release.conftest import Make
from unit.template.conftest import edit

REPOSITORY = Path(__file__).parents[4]


@pytest.fixture
def ensured(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models asked for; nothing is fetched."""
    for name in ("service.yaml", "guardrails.yaml", "providers.yaml"):
        (workspace.config / name).write_text((REPOSITORY / "config" / name).read_text())
    asked: list[str] = []

    def ensure(spec: ModelSpec, cache: Path) -> Path:
        asked.append(spec.source)
        return cache / spec.file_name

    monkeypatch.setattr(release_bundle, "ensure", ensure)
    return asked


def test_it_opens_the_folder_and_not_the_checkout(workspace: Workspace, make: Make, ensured: list[str]) -> None:
    manifest, folder = make()
    (workspace.prompts / "answer.prompt.yml").write_text("edited since")
    bundle = release_bundle.open_bundle(folder, workspace)
    assert bundle.release == manifest.id
    assert bundle.prompts["answer"].digest == manifest.prompts["answer"]
    assert bundle.index == folder / "index"
    assert bundle.adapter == folder / "adapter.gguf"
    assert bundle.model == workspace.cache / "chat.gguf"
    assert bundle.manifest["id"] == manifest.id
    assert ensured == ["file:/models/chat.gguf", "file:/models/embed.gguf"]


@pytest.mark.usefixtures("ensured")
def test_removed_settings_are_left_out(workspace: Workspace, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = workspace.config / "service.yaml"
    service = load_settings(path, ServiceSettings)
    edit(path, "limits:\n", "limits:\n  connections: {max_open: 9}\n")
    assert release_bundle.open_bundle(make()[1], workspace).service == service
    assert "service.yaml: served without settings or checks that were removed" in capsys.readouterr().err
    with pytest.raises(ValidationErrors, match=r"\(removed: "):
        load_settings(path, ServiceSettings)


def test_a_changed_release_opens_no_model(workspace: Workspace, make: Make, ensured: list[str]) -> None:
    _, folder = make()
    (folder / "prompts/answer.prompt.yml").write_text("changed")
    (folder / "index/vectors.npy").unlink()
    with pytest.raises(ValidationErrors) as caught:
        release_bundle.open_bundle(folder, workspace)
    assert len(caught.value.faults) == 2
    assert ensured == []


@pytest.mark.usefixtures("ensured")
def test_code_that_differs_is_named_and_refuses_nothing(workspace: Workspace, make: Make) -> None:
    package = Path(release_bundle.__file__).parents[1]
    other = workspace.root / "other.py"
    other.write_text("of another version")
    names = {
        "sluice/serving/http_api.py": package / "serving" / "http_api.py",
        "sluice/serving/chat_page/index.html": package / "serving" / "chat_page" / "index.html",
        "requirements/serve.txt": other,
    }
    same, folder = make(code=Code(names))
    assert release_bundle.open_bundle(folder, workspace).other_code == ()
    gone = {"sluice/serving/gone.py": other, "nobodys_package/app.py": other, "sluice/llm/provider_http.py": other}
    changed, folder = make(code=Code(names | gone))
    assert release_bundle.open_bundle(folder, workspace).other_code == tuple(sorted(gone))
    assert same.id != changed.id
