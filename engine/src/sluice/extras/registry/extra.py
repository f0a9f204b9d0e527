"""What the extra `registry` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="keeps artefacts in an OCI registry and the record in git refs: the artifact stores `github` and `oci://…`",
    hooks={"artifact_store": "registry_store:open_registry_store"},
    files=("engine/docs/decisions/registry-store.md", "engine/tests/workflows/test_first_release.py"),
    lines={
        "engine/docs/decisions/release-record.md": ("- In a registry, tags can be overwritten",),
        "engine/docs/reference/image.md": (
            "| `github` |",
            "| `oci://registry/name` |",
            "The addresses `github` and `oci://…`",
            "A registry is opened by `GITHUB_TOKEN`",
            "`packages: write` and `contents: write` to stage",
            "`gh auth refresh --scopes read:packages`",
            "mount the Secret of an image registry",
        ),
        "engine/docs/reference/record.md": (
            "the artifact store `github` is the default",
            "is the ref `refs/sluice/record",
            "GitHub's registry and its API",
        ),
        "engine/docs/reference/workflow-tests.md": (
            "GitHub's container registry and git server",
            "`test_first_release.py`",
        ),
    },
)
