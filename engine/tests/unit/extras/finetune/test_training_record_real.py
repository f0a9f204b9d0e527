# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""The adapter as a model of MLflow, on a real server: a process of its own, of the installed version, on SQLite."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.tracking import open_tracking
from sluice.core.workspace import Workspace
from sluice.extras.finetune.training_record import take_adapter
from sluice.llm.llama_server import LocalServer
from sluice.llm.model_files import ensure, load_models
from sluice.release import mlflow_registry
from sluice.release.manifest import Manifest
from sluice.release.mlflow_registry import ADAPTER_MODEL, CANDIDATE
from support.mlflow_server import MlflowServer, client_of, running, server  # noqa: F401 - fixtures
from unit.extras.finetune.tiny import close_gguf
from unit.release.conftest import make, workspace  # noqa: F401 - fixtures

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]  # a busy machine takes minutes to start a server
Make = Callable[..., tuple[Manifest, Path]]
REPOSITORY = Path(__file__).parents[5]
QUESTION = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
ASK = """
import json, mlflow, sys
model = mlflow.pyfunc.load_model(sys.argv[1])
json.dump(model.predict(json.loads(sys.argv[2]), params={"max_tokens": 12}), open("answer.json", "w"))
"""


def test_an_adapter_that_was_kept_as_a_file_is_logged_as_a_model(workspace: Workspace, make: Make) -> None:
    trained = workspace.build / "adapter/adapter.gguf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_registry, "hooks", lambda _: {})
        manifest, folder = make()
        mlflow_registry.record_release(workspace, manifest, folder)
    client, _ = open_tracking(workspace, mlflow_registry.EXPERIMENT)
    assert client.get_model_version_by_alias(ADAPTER_MODEL, CANDIDATE).source.startswith("runs:/")
    take_adapter(workspace, trained)
    mlflow_registry.promote_aliases(workspace, manifest)
    for alias in (CANDIDATE, "champion"):
        assert client.get_model_version_by_alias(ADAPTER_MODEL, alias).source.startswith("models:/m-")


def test_a_release_takes_the_adapter_by_alias_and_digest(
    workspace: Workspace, make: Make, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    trained = workspace.build / "adapter/adapter.gguf"
    trained.write_bytes(b"GGUF of this test")
    taken = take_adapter(workspace, trained)
    assert taken != trained
    assert (taken.read_bytes(), taken.with_name("training.json").is_file()) == (b"GGUF of this test", True)
    client = client_of(server)
    candidate = client.get_model_version_by_alias(ADAPTER_MODEL, CANDIDATE)
    manifest, folder = make(adapter=taken)
    mlflow_registry.record_release(workspace, manifest, folder)
    version = client.get_model_version_by_alias(ADAPTER_MODEL, CANDIDATE)
    assert version.version == candidate.version
    assert (version.tags["sha256"], version.tags["release"]) == (digest_of_file(trained), manifest.id)
    assert version.source.startswith("models:/m-")
    artifacts = {file.path for file in client.list_logged_model_artifacts(version.source[8:], "artifacts")}
    assert artifacts == {f"artifacts/{name}" for name in ("adapter.gguf", "base.json", "training.json")}

    move = mlflow.MlflowClient.set_registered_model_alias

    def another_job(self: Any, name: str, alias: str, version: str) -> None:
        move(self, name, alias, version)
        move(self, name, alias, candidate.version)

    trained.write_bytes(b"GGUF of another commit")
    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", another_job)
    with pytest.raises(SluiceError, match=f"@{CANDIDATE} is sha256 {version.tags['sha256']}, and what was evaluated"):
        take_adapter(workspace, trained)


def test_a_logged_adapter_answers_in_a_fresh_environment(
    workspace: Workspace, server: MlflowServer, tmp_path: Path
) -> None:
    import mlflow

    chat = load_models(REPOSITORY / "config" / "models.yaml").chat
    published = next(iter(chat.cached(workspace.cache)))
    served = ensure(chat, workspace.cache)
    pinned = chat.model_copy(update={"source": f"file:{published}"})  # fetched and checked, without the network
    models = workspace.config / "models.yaml"
    models.write_text(json.dumps({"chat": pinned.model_dump(mode="json"), "embed": pinned.model_dump(mode="json")}))
    trained = workspace.build / "adapter/adapter.gguf"
    _write_lora(trained)
    take_adapter(workspace, trained)

    uri = f"models:/{ADAPTER_MODEL}@{CANDIDATE}"
    named_by_it = mlflow.artifacts.download_artifacts(f"{uri}/requirements.txt", tracking_uri=server.url)
    uv = Path(sys.executable).with_name("uv")
    fresh = tmp_path / "fresh"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, fresh], check=True)
    install = [uv, "pip", "install", "--quiet", "--offline", "--python", fresh / "bin/python", "-r", named_by_it]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"uv's cache lacks what the model names: {done.stderr.strip().splitlines()[-1]}")
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment = {**kept, "SLUICE_CACHE": str(tmp_path / "cache"), "PYTHONNOUSERSITE": "1"}
    argv = [fresh / "bin/python", "-c", ASK, uri, json.dumps(QUESTION)]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with LocalServer(served, adapter=trained) as ours, LocalServer(served) as base:
        asked = {**QUESTION, "max_tokens": 12, "temperature": 0.0}
        expected, plain = (one.answer(asked)["choices"][0]["message"]["content"] for one in (ours, base))
    assert json.loads((tmp_path / "answer.json").read_text()) == [expected]
    assert expected != plain


def _write_lora(path: Path) -> None:
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for block in range(4):
        for side, shape in (("a", (4, 576)), ("b", (576, 4))):
            values = random.normal(scale=0.5, size=shape).astype(np.float32)
            writer.add_tensor(f"blk.{block}.attn_q.weight.lora_{side}", values)
    close_gguf(writer)
