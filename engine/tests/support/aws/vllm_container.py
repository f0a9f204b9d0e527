"""AWS's container for vLLM with an adapter as an inference component, by the real vLLM 0.32 on this machine.

SM_VLLM_<NAME> becomes --<name>, `true` a flag without a value, as in aws/deep-learning-containers,
scripts/docker/vllm/sagemaker_args.py. SageMaker gives an adapter to POST /adapters and names it in a header of
/invocations: model_hosting_container_standards 0.1.16, sagemaker/lora/routes.py and constants.py, which vLLM brings.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from sluice.core.processes import free_port, wait_until

PREFIX = "SM_VLLM_"
START = 900  # seconds
HEADER = "X-Amzn-SageMaker-Adapter-Identifier"


class VllmContainer:
    """The container's API as SageMaker calls it."""

    def __init__(self, port: int) -> None:
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300, trust_env=False)

    def pings(self) -> bool:
        try:
            return self._client.get("/ping").is_success
        except httpx.HTTPError:
            return False

    def load(self, name: str, folder: Path) -> None:
        answer = self._client.post("/adapters", json={"name": name, "src": str(folder)})
        assert answer.is_success, answer.text

    def ask(self, question: str, adapter: str = "") -> str:
        """The answer to a question, of the base or of an adapter."""
        body = {"messages": [{"role": "user", "content": question}], "max_tokens": 12, "temperature": 0}
        answer = self._client.post("/invocations", json=body, headers={HEADER: adapter} if adapter else {})
        assert answer.is_success, answer.text
        return str(answer.json()["choices"][0]["message"]["content"])


def arguments(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if name.startswith(PREFIX) and value != "false":
            yield f"--{name.removeprefix(PREFIX).lower().replace('_', '-')}"
            yield from () if value == "true" else (value,)


@contextmanager
def running(python: str, environment: Mapping[str, str], log: Path) -> Iterator[VllmContainer]:
    """vLLM as the container starts it with these variables."""
    port = free_port()
    words = [python, "-m", "vllm.entrypoints.openai.api_server", *arguments(environment), f"--port={port}"]
    quiet: dict[str, Any] = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*words, "--host=127.0.0.1", "--enforce-eager"],
            env={**os.environ, **environment, **quiet},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        served = VllmContainer(port)
        assert wait_until(lambda: served.pings() or process.poll() is not None, seconds=START), log.read_text()[-3000:]
        assert process.poll() is None, log.read_text()[-3000:]
        yield served
    finally:
        os.killpg(process.pid, 9)
        process.wait()
