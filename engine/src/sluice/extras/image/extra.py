"""What the extra `image` adds, and what belongs to it. The Containerfile stays: others may build by it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="builds the container images with buildah and pushes them",
    commands="cli:register",
    files=(
        "engine/scripts/make_kind.py",
        "engine/tests/image",
    ),
    entries={
        ".github/workflows/nightly.yml": ("jobs > image", "jobs > report > needs > =image"),
        ".github/workflows/template-tests.yml": ("jobs > cluster",),
        ".github/workflows/release.yml": (
            "jobs > image",
            "jobs > release > needs > =image",
            "jobs > sign > needs > =image",
            "jobs > sign > steps > name=Where the image comes from",
            "jobs > sign > steps > name=Where the other comes from",
            "jobs > sign > steps > name=Sign in to the registry",
            "jobs > sign > steps > name=Fetch the bills of materials",
            "jobs > sign > steps > name=What the image is made of",
            "jobs > sign > steps > name=What the other is made of",
            "jobs > sign > permissions > packages",
            "jobs > plan > steps > name=No image?",
            "jobs > plan > outputs > image",
            "jobs > release > steps > id=stage > env > SLUICE_IMAGE",
            "jobs > release > steps > id=stage > env > SLUICE_LOAD_IMAGE",
        ),
    },
)
