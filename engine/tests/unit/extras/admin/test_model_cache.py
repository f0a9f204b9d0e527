import hashlib
from pathlib import Path

import pytest

from sluice.extras.admin.cli import unnamed
from sluice.llm.model_files import Models, ensure_source


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
