"""The name by which a release asks vLLM for its adapter."""

from __future__ import annotations

from pathlib import Path

from sluice.core.digests import digest_of_file
from sluice.serving.release_parts import DRAFT, ReleaseBundle

KIND = "vllm"


def model_names(bundle: ReleaseBundle) -> dict[str, str]:
    """The model by kind of provider; nothing where the release has no adapter, and the base answers."""
    return {KIND: adapter_name(bundle.release, bundle.adapter)} if bundle.adapter else {}


def adapter_name(release: str, adapter: Path) -> str:
    """The id of the release. What is not released yet is named by its content: vLLM keeps what it has computed for a
    name, so that another adapter under the same one would get a part of the first one's answers."""
    return f"{DRAFT}-{digest_of_file(adapter)[:12]}" if release == DRAFT else release
