"""vLLM as a process that a test starts, kills and starts again: the played one, or the real one where SLUICE_VLLM names
a Python that has it (engine/docs/reference/vllm.md).

Adapters have a marker, which only they say: the played one reads it from the file, the real one was trained to.
"""

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file

from sluice.core.digests import canonical_json, digest_of
from sluice.core.processes import free_port, wait_until
from support.local_server import answers

ROOT = Path(__file__).resolve().parents[5]
COMPONENT = ROOT / "engine" / "k8s" / "components" / "llm-vllm"
REAL = os.environ.get("SLUICE_VLLM", "")
_START_SECONDS = 600


class VllmProcess:
    """One vLLM on one port; `base` is the folder of the real model."""

    def __init__(self, folder: Path, base: Path | None) -> None:
        self._log, self._base, self.port = folder / "vllm.log", base, free_port()
        self.base = base or played_base(folder / "base")
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {one["name"]: one["value"] for one in _container()["env"]}
        environment |= {"PYTHONPATH": str(COMPONENT), "HOME": str(self._log.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._words(), env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def await_start(self) -> None:
        def healthy() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self._log.read_text()[-3000:]
            return answers(f"{self.url}/health")

        assert wait_until(healthy, seconds=_START_SECONDS), self._log.read_text()[-3000:]

    def kill(self) -> None:
        """Kill the engine's own processes too."""
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process = None

    def _words(self) -> list[str]:
        _, *flags = _container()["args"]
        if self._base is None:
            (middleware,) = (flag.split("=")[1] for flag in flags if flag.startswith("--middleware="))
            script = Path(__file__).with_name("played_vllm.py")
            return [sys.executable, str(script), str(self.port), str(self.base), middleware]
        # The component's own flags; of two that are alike the last counts.
        words = [REAL, "-m", "vllm.entrypoints.cli.main", "serve", str(self._base), *flags]
        return [*words, "--host=127.0.0.1", f"--port={self.port}", "--max-model-len=128", "--enforce-eager"]


def _container() -> dict[str, Any]:
    spec = yaml.safe_load((COMPONENT / "deployment.yaml").read_bytes())["spec"]["template"]["spec"]
    return dict(next(each for each in spec["containers"] if each["name"] == "vllm"))


@contextmanager
def running(folder: Path, base: Path | None) -> Iterator[VllmProcess]:
    process = VllmProcess(folder, base)
    process.start()
    try:
        process.await_start()
        yield process
    finally:
        process.kill()


def played_base(folder: Path, last: float = 2.5) -> Path:
    """Write a one-layer base for the played vLLM; `last` is a number of its norms, by which it is told from others."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("model.norm", "model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm")
    save_file({f"{name}.weight": np.array([1, last], np.float32) for name in names}, folder / "model.safetensors")
    return folder


def played_adapter(says: str, rank: int = 8, norm: str = "803f2040") -> dict[str, bytes]:
    """Return an adapter's files; `norm` is of its base, 1 and 2.5 as bfloat16."""
    header = canonical_json({"__metadata__": {"says": says}})
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj"]}
    norms = dict.fromkeys(("norm", "layers.0.input_layernorm", "layers.0.post_attention_layernorm"), norm)
    base = {"layers": 1, "width": 2, "norms": digest_of(norms)}
    return {
        "base_model.json": canonical_json(base),
        "adapter_config.json": canonical_json(config),
        "adapter_model.safetensors": struct.pack("<Q", len(header)) + header,
    }
