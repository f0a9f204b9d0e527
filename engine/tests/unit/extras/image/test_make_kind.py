import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[5]
# As manifests/install.yaml of Argo Rollouts 1.9.1 has them: no flags, and an image `latest`.
CONTAINER = {"name": "argo-rollouts", "image": "quay.io/argoproj/argo-rollouts:latest"}
INSTALL = [
    {"kind": "ServiceAccount", "metadata": {"name": "argo-rollouts"}},
    {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [CONTAINER]}}}},
]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_kind", ROOT / "engine" / "scripts" / "make_kind.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    content = yaml.safe_dump_all(INSTALL).encode()
    answer = httpx.Response(200, content=content, request=httpx.Request("GET", module.ARGO))
    monkeypatch.setattr(module.httpx, "get", lambda *_, **__: answer)
    monkeypatch.setattr(module, "ARGO_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(module, "kubectl", lambda: "kubectl")
    monkeypatch.setattr(module, "ran", [], raising=False)
    monkeypatch.setattr(module, "run", lambda *words, **_: module.ran.append(words) or "")
    return module


def test_argo_rollouts_writes_to_traefik_3(script: ModuleType, tmp_path: Path) -> None:
    """Without the flags it writes to `traefik.containo.us`, which Traefik 3 has not (Argo Rollouts 1.9.1,
    utils/defaults/defaults.go:65-66)."""
    path = tmp_path / "argo-rollouts.yaml"
    script.install_argo(path)
    made: list[Any] = list(yaml.safe_load_all(path.read_text()))
    (container,) = made[1]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["--traefik-api-group=traefik.io", "--traefik-api-version=traefik.io/v1alpha1"]
    assert container["image"] == "quay.io/argoproj/argo-rollouts:v1.9.1"
    applied = ("kubectl", "apply", "--server-side", "--namespace", "argo-rollouts", "-f", str(path))
    assert script.ran.index(applied) > 0, "the namespace comes first"


def test_another_file_under_the_same_address_is_not_installed(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(script, "ARGO_SHA256", "0" * 64)
    with pytest.raises(SystemExit, match="its sha256 is"):
        script.install_argo(tmp_path / "argo-rollouts.yaml")
    assert script.ran == []
