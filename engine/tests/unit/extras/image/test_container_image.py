"""What is built, by which words, and where it is pushed. buildah, podman and skopeo are scripts that note what they are
asked; Amazon's registry is moto's: it answers GetAuthorizationToken as botocore's model has it."""

import base64
import json
import os
from pathlib import Path

import pytest

from sluice.core import git
from sluice.core.errors import SluiceError
from sluice.extras.image.container_image import EPOCH, build, login, push
from support.aws.moto_server import aws_server

ROOT = Path(__file__).resolve().parents[5]
BASE = f"registry.example/python@sha256:{'0a' * 32}"

BUILDAH = """#!/bin/sh
printf '%s\\n' "$@" > "$0.words"
while [ $# -gt 1 ]; do [ "$1" = --iidfile ] && printf 'sha256:1d' > "$2"; shift; done
"""
PODMAN = """#!/bin/sh
case "$1" in
image) echo '[{"Size": 900, "RootFS": {"Layers": ["sha256:1", "sha256:2"]}}]' ;;
create) echo container ;;
cp) printf '{}' > "$3" ;;
rm) echo "$2" > "$0.removed" ;;
esac
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in (("buildah", BUILDAH), ("podman", PODMAN)):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "engine").mkdir(parents=True)
    (root / "engine" / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    return root


@pytest.mark.parametrize("base", ["python:3.13", f"@sha256:{'0' * 64}", BASE + "0"])
def test_a_base_without_a_digest_is_refused(checkout: Path, base: str) -> None:
    with pytest.raises(SluiceError, match="not named by digest"):
        build(checkout, base, "localhost/sluice")


def test_what_is_built_depends_on_the_commit_alone(tools: Path, checkout: Path) -> None:
    image = build(checkout, BASE, "localhost/sluice", ["--isolation", "chroot"])
    words = (tools / "buildah.words").read_text().splitlines()
    assert words[0] == "build"
    assert words[-3:] == ["--isolation", "chroot", str(checkout)]
    assert words[words.index("--timestamp") + 1] == str(EPOCH)
    assert "--no-cache" in words
    assert words[words.index("--target") + 1] == "serving"
    assert words[words.index("--tag") + 1] == "localhost/sluice"
    assert f"BASE={BASE}" in words
    assert "VERSION=1.2.3" in words
    assert "REVISION=unknown" in words  # it is no git checkout
    assert "CREATED=1970-01-01T00:00:00+00:00" in words
    assert (image.id, image.size, image.layers) == ("sha256:1d", 900, ("sha256:1", "sha256:2"))
    assert image.sbom.read_text() == "{}"
    assert (tools / "podman.removed").read_text() == "container\n"


def test_the_image_that_judges_has_a_name_and_an_sbom_of_its_own(tools: Path, checkout: Path) -> None:
    image = build(checkout, BASE, "registry.example:5000/team/sluice:1.2", suffix="-load")
    words = (tools / "buildah.words").read_text().splitlines()
    assert image.name == words[words.index("--tag") + 1] == "registry.example:5000/team/sluice-load:1.2"
    assert words[words.index("--target") + 1] == "load"
    assert image.sbom == checkout / "build" / "image" / "sbom-load.cdx.json"


def test_a_build_that_fails_and_a_tool_that_is_missing_are_named(
    tools: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tools / "buildah").write_text("#!/bin/sh\nexit 125\n")
    with pytest.raises(SluiceError, match="buildah build: ended with 125"):
        build(checkout, BASE, "localhost/sluice")
    monkeypatch.setenv("PATH", str(tools / "nothing"))
    monkeypatch.setattr(git, "commit_time", lambda _: 0)
    monkeypatch.setattr(git, "commit", lambda _: "unknown")
    with pytest.raises(SluiceError, match="buildah: not installed"):
        build(checkout, BASE, "localhost/sluice")


def test_only_what_is_named_goes_into_the_build() -> None:
    lines = (ROOT / ".containerignore").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert lines[0] == "*"
    named = {line[1:] for line in lines[1:] if line.startswith("!")}
    copied = {
        word
        for line in (ROOT / "engine" / "Containerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert named == copied
    assert all((ROOT / name).exists() for name in named)


PUSH = """#!/bin/sh
printf '%s\\n' "$@" > "$0.words"
while [ $# -gt 2 ]; do
    [ "$1" = --authfile ] && cp "$2" "$0.login" && stat -c %a "$2" > "$0.mode"
    [ "$1" = --digestfile ] && printf 'sha256:DIGEST\\n' > "$2"
    shift
done
exit ${PUSH_FAILS:-0}
"""
INSPECT = """#!/bin/sh
[ -f "$0.there" ] && cat "$0.there" || { echo 'manifest unknown' >&2; exit 1; }
"""


@pytest.fixture
def registry(tools: Path) -> Path:
    for name, script in (("podman", PUSH.replace("DIGEST", "a" * 64)), ("skopeo", INSPECT)):
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    return tools


def test_an_image_is_pushed_under_its_commit_and_named_by_its_digest(
    registry: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = push(checkout, "localhost/sluice", "ghcr.io/octo/app", user="octocat", token="word")
    assert (pushed.image, pushed.new) == (f"ghcr.io/octo/app@sha256:{'a' * 64}", True)
    words = (registry / "podman.words").read_text().splitlines()
    assert words[0] == "push"
    assert words[-2:] == ["localhost/sluice", f"docker://ghcr.io/octo/app:{git.commit(checkout)}"]
    assert not any("word" in word for word in words[:-2])
    login = json.loads((registry / "podman.login").read_text())
    assert base64.b64decode(login["auths"]["ghcr.io"]["auth"]).decode() == "octocat:word"
    assert (registry / "podman.mode").read_text().strip() == "600", "a file that nobody else reads"
    push(checkout, "localhost/sluice-training", "ghcr.io/octo/app", tag="-training")
    assert (registry / "podman.words").read_text().endswith(f":{git.commit(checkout)}-training\n")
    monkeypatch.setenv("PUSH_FAILS", "125")
    with pytest.raises(SluiceError, match="podman push: ended with 125"):
        push(checkout, "localhost/sluice", "ghcr.io/octo/app")


def test_what_was_pushed_for_this_commit_before_is_taken(registry: Path, checkout: Path) -> None:
    (registry / "skopeo.there").write_text(f"sha256:{'b' * 64}\n")
    pushed = push(checkout, "localhost/sluice", "ghcr.io/octo/app")
    assert (pushed.image, pushed.new) == (f"ghcr.io/octo/app@sha256:{'b' * 64}", False)
    assert not (registry / "podman.words").exists()


ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/sluice"


def test_github_s_variables_open_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    monkeypatch.setenv("GITHUB_TOKEN", "word")
    assert login("ghcr.io/octo/app") == ("octocat", "word")
    assert login(f"registry.example/{ECR}") == ("octocat", "word")


def test_aws_opens_its_own(monkeypatch: pytest.MonkeyPatch, loopback: None) -> None:  # noqa: ARG001
    monkeypatch.setenv("GITHUB_TOKEN", "word")
    with aws_server(monkeypatch, region="us-east-1"):
        user, password = login(ECR)
    assert user == "AWS"
    assert password
    assert password != "word"


def test_without_credentials_the_role_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(SluiceError, match="gives no password") as raised:
        login(ECR)
    assert "BuildRole" in raised.value.remedy
