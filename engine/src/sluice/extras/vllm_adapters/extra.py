"""What the extra `vllm_adapters` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="serves the adapter of each release by one vLLM: the kind of provider `vllm`, a loader beside vLLM",
    commands="cli:register",
    hooks={"model_names": "providers.vllm:model_names", "adapter_forms": "peft_form:pin_peft_form"},
    files=(
        "engine/docs/decisions/runtime-lora.md",
        "engine/docs/reference/vllm.md",
        "engine/k8s/components/artefacts-volume/vllm.yaml",
        "engine/k8s/components/llm-vllm",
    ),
    shared={
        "finetune": (
            "engine/tests/unit/extras/vllm_adapters/test_peft_form.py",
            "engine/tests/unit/extras/vllm_adapters/trained.py",
        ),
    },
    lines={
        "docs/hosted-models.md": ("- name: vllm", "kind: vllm ", "model: base", "http://vllm:8000/v1"),
        "engine/docs/reference/cluster.md": ("| `llm-vllm` |", "| production on GPUs |", "`llm-vllm` also needs EFS"),
        "engine/docs/reference/manifest.md": ("| `peft/` |",),
        "engine/docs/reference/providers.md": ("| `vllm` |",),
    },
    entries={"engine/k8s/components/artefacts-volume/kustomization.yaml": ("patches > path=vllm.yaml",)},
)
