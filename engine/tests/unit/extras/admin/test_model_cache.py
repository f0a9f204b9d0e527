# ruff: noqa: F811 - a fixture that is imported is named by the tests
from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.extras.admin.cli import faults_of, size_of, unnamed
from sluice.llm.model_files import Models, ensure_source, load_models
from unit.cli.test_index_build import run  # noqa: F401 - a fixture


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def models(tmp_path: Path) -> Models:
    origin = tmp_path / "origin"
    origin.mkdir()
    contents = {"chat.gguf": b"chat", "chat.safetensors": b"weights", "embed.bin": b"embed", "vocab.txt": b"words"}
    for name, content in contents.items():
        (origin / name).write_bytes(content)

    def pinned(name: str) -> dict[str, str]:
        return {"source": f"file:{origin}/{name}", "sha256": sha(contents[name])}

    chat = {"name": "Chat", "licence": "MIT", **pinned("chat.gguf"), "weights": pinned("chat.safetensors")}
    embed = {"name": "Embed", "licence": "CC0-1.0", **pinned("embed.bin"), "files": {"vocab.txt": sha(b"words")}}
    return Models.model_validate({"chat": chat, "embed": embed})


def test_every_file_has_its_size_once_it_is_fetched(models: Models, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert [size_of(file, cache) for _, _, file in models.pinned()] == [0, 0, 0]
    ensure_source(models.embed, cache)
    assert [(role, size_of(file, cache)) for role, _, file in models.pinned()] == [
        ("chat", 0),
        ("chat.weights", 0),
        ("embed", 10),
    ]


def test_the_list_has_licence_and_source(
    workspace: Workspace, run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("SLUICE_CACHE", str(workspace.root / "empty"))
    chat = load_models(workspace.config / "models.yaml").chat
    status, said = run("models", "list")
    line = f"chat: {chat.name} ({chat.licence}), not fetched, sha256 {chat.sha256[:16]}…, {chat.source}"
    assert (status, line in said.splitlines()) == (0, True), said


def test_every_fault_is_found_at_once(models: Models, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    ensure_source(models.chat, cache)
    ensure_source(models.embed, cache)
    assert models.chat.weights is not None
    assert len(faults_of(models, cache)) == 1
    ensure_source(models.chat.weights, cache)
    assert faults_of(models, cache) == []
    broken = next(iter(models.embed.cached(cache)))
    broken.unlink()
    broken.write_bytes(b"turned")
    next(iter(models.chat.cached(cache))).unlink()
    missing, wrong = faults_of(models, cache)
    assert "chat.gguf: not fetched" in missing
    assert f"embed.bin: sha256 is {sha(b'turned')}, but config/models.yaml pins {sha(b'embed')}" in wrong


def test_what_nothing_names_is_found_and_goes(models: Models, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert unnamed([models], cache) == {}
    for pinned in (models.chat, models.chat.weights, models.embed):
        assert pinned is not None
        ensure_source(pinned, cache)
    old = cache / "models" / "0123456789abcdef"
    old.mkdir()
    (old / "old.gguf").write_bytes(b"12345")
    assert unnamed([models], cache) == {old: 5}
