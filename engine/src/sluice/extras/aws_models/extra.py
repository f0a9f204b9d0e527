"""What the extra `aws_models` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="chat models on Bedrock and SageMaker endpoints: the kinds of provider `bedrock` and `sagemaker`",
    lines={
        "docs/hosted-models.md": (
            "- name: bedrock",
            "kind: bedrock",
            "model: anthropic.claude-haiku-",
            "region: eu-west-1",
            "Claude refuses them on Bedrock",
            "- name: endpoint",
            "kind: sagemaker",
            "model: my-endpoint",
            "`bedrock` and `sagemaker`",
        ),
        "engine/docs/decisions/below-langchain.md": ("Bedrock and SageMaker with aiobotocore",),
        "engine/docs/reference/providers.md": ("| `region` |", "| `component` |", "| `bedrock`, `sagemaker` |"),
        "engine/docs/reference/sagemaker.md": ("(kind `sagemaker`)",),
    },
)
