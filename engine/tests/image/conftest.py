import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from image.containers import PODMAN, Pod, isolation, podman
from sluice.extras.image.container_image import BuiltImage, build
from support.placed_release import checkout, placed, scripted  # noqa: F401 - fixtures

ROOT = Path(__file__).resolve().parents[3]
SUITE = "trixie"
OWN_BASE = f"localhost/sluice-test-base:{SUITE}-gomp"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """SLUICE_IMAGE_BASE, or a Debian made on this machine, which needs root and debootstrap."""
    if named := os.environ.get("SLUICE_IMAGE_BASE"):
        return named
    if subprocess.run([*PODMAN, "image", "exists", OWN_BASE], check=False).returncode:
        if os.geteuid() or not shutil.which("debootstrap"):
            pytest.fail("name a base image by digest in SLUICE_IMAGE_BASE, or run as root with debootstrap installed")
        folder = tmp_path_factory.mktemp("base")
        packages = "--include=python3,python3-venv,ca-certificates,libgomp1"
        subprocess.run(["debootstrap", "--variant=minbase", packages, SUITE, str(folder)], check=True)
        authorities = Path("etc/ssl/certs/ca-certificates.crt")  # the build reaches the index as this machine does
        shutil.copyfile("/" / authorities, folder / authorities)
        tar = ["tar", "--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*", "-C", str(folder), "-c", "."]
        with subprocess.Popen(tar, stdout=subprocess.PIPE) as packing:
            subprocess.run([*PODMAN, "import", "-", OWN_BASE], stdin=packing.stdout, check=True)
        shutil.rmtree(folder)
    name = OWN_BASE.partition(":")[0]
    return f"{name}@{podman('image', 'inspect', '--format', '{{.Digest}}', OWN_BASE)}"


def _built(base: str, suffix: str) -> BuiltImage:
    options = shlex.split(os.environ.get("SLUICE_IMAGE_OPTIONS", "")) or isolation()
    built = build(ROOT, base, "localhost/sluice:test", options, suffix=suffix)
    print(f"{built.name}: {built.size / 1e6:.0f} MB, {built.seconds:.0f} s, {built.id}")
    return built


@pytest.fixture(scope="session")
def image(base: str) -> BuiltImage:
    return _built(base, "")


@pytest.fixture(scope="session")
def load_image(base: str) -> BuiltImage:
    return _built(base, "-load")


@pytest.fixture
def pod(image: BuiltImage, tmp_path: Path) -> Iterator[Pod]:
    made = Pod(image, tmp_path)
    yield made
    print(made.log(), file=sys.stderr)
    made.close()


@pytest.fixture(scope="session")
def facts(image: BuiltImage) -> dict[str, Any]:
    """What the image says of itself."""
    return dict(json.loads(podman("image", "inspect", image.id))[0])
