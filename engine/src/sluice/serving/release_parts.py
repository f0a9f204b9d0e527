"""The parts of one release, as the service and the evaluation load them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.extras import left_out
from sluice.core.project import APPLICATION, load_project
from sluice.core.settings import load_settings, read_yaml
from sluice.core.workspace import Workspace
from sluice.guardrails.check import GUARD_FILE
from sluice.guardrails.settings import GuardrailSettings
from sluice.llm.model_files import Models, ensure, load_models
from sluice.llm.settings import PROMPT_ROLES, Providers, load_providers
from sluice.prompts import Prompt, load_prompts
from sluice.serving.settings import ServiceSettings

DRAFT = "draft"
PROMPT = "answer"
_ROLE = "chat"  # of config/providers.yaml: who is asked


@dataclass(frozen=True)
class ReleaseBundle:
    """The parts of a release, or of a DRAFT. `other_code` names files of code that differ from the release's."""

    release: str
    prompts: Mapping[str, Prompt]
    index: Path
    adapter: Path | None
    model: Path
    embedder: Path
    service: ServiceSettings
    guardrails: GuardrailSettings
    providers: Providers
    manifest: Mapping[str, Any]
    guard: Path | None = None
    application: str = APPLICATION
    other_code: tuple[str, ...] = ()
    config: Path | None = None


def draft_adapter(workspace: Workspace) -> Path | None:
    stages = read_yaml(workspace.root / "pipelines" / "dvc.yaml")[0]["stages"]
    trains = "train" in stages and "finetune" not in left_out(workspace.root)
    return workspace.build / "adapter" / "adapter.gguf" if trains else None


def draft_bundle(workspace: Workspace, *, adapter: Path | None) -> ReleaseBundle:
    """Return what the working tree would release now."""
    models = load_models(workspace.config / "models.yaml")
    return ReleaseBundle(
        release=DRAFT,
        prompts=load_prompts(workspace.prompts, roles=PROMPT_ROLES),
        index=workspace.build / "index",
        adapter=adapter,
        model=ensure(models.chat, workspace.cache),
        embedder=ensure(models.embed, workspace.cache),
        service=load_settings(workspace.config / "service.yaml", ServiceSettings),
        guardrails=load_settings(workspace.config / "guardrails.yaml", GuardrailSettings),
        providers=load_providers(workspace.config / "providers.yaml", roles=Models.roles()),
        manifest={},
        guard=workspace.build / "guard" / GUARD_FILE,
        application=load_project(workspace.config).application,
        config=workspace.config,
    )


def require_prompt(bundle: ReleaseBundle, name: str = PROMPT) -> Prompt:
    if name not in bundle.prompts:
        raise SluiceError(
            f"release {bundle.release}: it has no prompt {name!r}", remedy=f"add prompts/{name}.prompt.yml"
        )
    prompt = bundle.prompts[name]
    if prompt.model != _ROLE:
        raise SluiceError(
            f"prompts/{name}.prompt.yml: model: the service asks {_ROLE!r}, not {prompt.model!r}",
            remedy=f"write model: {_ROLE}",
        )
    return prompt
