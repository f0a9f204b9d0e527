"""Releases with an adapter for vLLM, in an artifact store and as a folder of live ones."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from sluice.core.digests import digest_of_file
from sluice.llm.settings import ProviderSpec
from sluice.release.artifact_store import open_artifact_store
from sluice.release.manifest import ADAPTER, FILE, Manifest, identified
from sluice.serving.release_parts import ReleaseBundle
from support.serving.fakes import provider_entry, scripted_bundle


@dataclass(frozen=True)
class ReleaseShelf:
    """`made` has all releases, `alive` the live ones, `store` their files."""

    root: Path

    @property
    def made(self) -> Path:
        return self.root / "made"

    @property
    def alive(self) -> Path:
        return self.root / "alive"

    @property
    def store(self) -> Path:
        return self.root / "store"

    def make(self, files: Mapping[str, bytes], *, kind: str = "vllm", adapter: bool = True, **changes: Any) -> Manifest:
        """Push a release whose peft/ has these files; it is not alive yet."""
        entry = provider_entry(kind=kind, name="v", model="base", base_url="http://vllm:8000/v1")
        if kind == "local":
            entry = provider_entry()
        embed = {"name": "local", "kind": "local", "model": "embed"}
        held = {f"peft/{name}": content for name, content in files.items()}
        held["config/providers.yaml"] = yaml.safe_dump({"chat": [entry], "judge": [], "embed": [embed]}).encode()
        held |= {ADAPTER: b"".join(files.values())} if adapter else {}
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in held.items()}
        manifest = identified(
            {
                "prompts": {},
                "data": {"digest": "2" * 64},
                "index": {"digest": "3" * 64, "embedder": {}, "chunker": {}},
                "models": {},
                "adapter": {"sha256": digests[ADAPTER]} if adapter else None,
                "config": {},
                "files": digests,
                **changes,
            }
        )
        folder = self.made / manifest.id
        for name, content in {**held, FILE: manifest.to_bytes()}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        store = open_artifact_store(str(self.store))
        for name, digest in digests.items():
            store.put(digest, folder / name)
        return manifest

    def start(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            (self.alive / manifest.id).mkdir(parents=True, exist_ok=True)
            shutil.copy(self.made / manifest.id / FILE, self.alive / manifest.id / FILE)

    def end(self, manifest: Manifest) -> None:
        shutil.rmtree(self.alive / manifest.id)

    def swap_byte(self, manifest: Manifest, name: str = "peft/adapter_model.safetensors") -> Path:
        path = self.store / "sha256" / manifest.files[name]
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert digest_of_file(path) != manifest.files[name]
        return path


def bundle_of(manifest: Manifest, url: str, **changes: Any) -> ReleaseBundle:
    # A machine that is busy elsewhere must not pass for a vLLM that is gone: that one refuses a connection at once.
    timeouts = {"connect": 200, "queue": 200, "first_token": 200}
    entry = provider_entry(
        kind="vllm", name="vllm", model="base", base_url=f"{url}/v1", timeouts=timeouts, max_concurrency=64, **changes
    )
    usual = scripted_bundle()
    return replace(
        usual,
        release=manifest.id,
        adapter=Path(ADAPTER) if manifest.adapter else None,
        providers=usual.providers.model_copy(update={"chat": (ProviderSpec.model_validate(entry),)}),
    )
