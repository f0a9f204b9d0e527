"""What the extra `sagemaker` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="trains and serves on SageMaker",
    needs=("finetune", "guard"),
    commands="cli:register",
    hooks={
        "train": "train:train",
        "training_machines": "train:training_machines",
        "champion": "results:follow_champion",
        "account": "doctor:account_checks",
        "variables": "doctor:variables",
    },
    files=(
        "config/sagemaker.yaml",
        "engine/aws/endpoint.yaml",
        "engine/docs/an-8b-model.md",
        "engine/docs/decisions/sagemaker-sdk.md",
        "engine/docs/first-release-on-aws.md",
        "engine/docs/reference/sagemaker.md",
        "engine/scripts/write_golden_pipeline.py",
        "engine/tests/golden/sagemaker",
        "engine/tests/support/aws/endpoint_service.py",
        "engine/tests/support/aws/managed_mlflow.py",
        "engine/tests/support/aws/role_policies.py",
        "engine/tests/support/aws/sagemaker_runs.py",
        "engine/tests/support/aws/sagemaker_server.py",
        "pipelines/container",
        "pipelines/sagemaker-sdk.yaml",
        "pipelines/sagemaker.py",
    ),
    shared={
        "doctor": ("engine/src/sluice/extras/sagemaker/doctor.py", "engine/tests/unit/extras/sagemaker/test_doctor.py"),
        "image": (
            "engine/tests/support/aws/training_container.py",
            "engine/tests/unit/extras/sagemaker/pipelines/test_training_image.py",
        ),
    },
    lines={
        ".containerignore": ("!pipelines/container/job.py",),
        "engine/Containerfile": ("COPY pipelines/container/job.py",),
        "docs/aws.md": ("| `engine/aws/endpoint.yaml` |",),
        "docs/github.md": ("| `SLUICE_TRAIN_ON` |",),
    },
    entries={
        ".github/workflows/nightly.yml": ("jobs > sagemaker", "jobs > report > needs > =sagemaker"),
        ".github/workflows/release.yml": ("jobs > release > steps > run=make sagemaker",),
        ".github/workflows/train.yml": (
            "jobs > sagemaker",
            "on > workflow_dispatch > inputs > on",
            "jobs > train > if",
        ),
    },
)
