"""SageMaker's side of a training container, by podman, and AWS's container for vLLM, by the real vLLM 0.32.

Files of /opt/ml/input/config, a folder for each channel, the folder of checkpoints, SIGTERM and 120 seconds later
SIGKILL, and /opt/ml/model as model.tar.gz are those of AWS's guide ("How Amazon SageMaker AI Provides Training
Information", "Processes Training Output", "Runs Your Training Image", "Checkpoints"). Command and environment are
those of the definition that the SDK made, and `code` and `sm_drivers` what it uploaded.

SM_VLLM_<NAME> becomes --<name>, `true` a flag without a value, as in aws/deep-learning-containers,
scripts/docker/vllm/sagemaker_args.py. SageMaker gives an adapter to POST /adapters and names it in a header of
/invocations: model_hosting_container_standards 0.1.16, sagemaker/lora/routes.py and constants.py, which vLLM brings.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from image.containers import PODMAN, podman
from sluice.core.processes import free_port, wait_until

GRACE = 120  # seconds from SIGTERM to SIGKILL


@dataclass
class TrainingContainer:
    """One job after the other on one /opt/ml, which is `ml` here. `request`: of CreateTrainingJob; `shared`: a folder
    that the container sees under its own path."""

    image: str
    request: Mapping[str, Any]
    ml: Path
    shared: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    def configure(self, hyperparameters: Mapping[str, str]) -> None:
        """Writes what SageMaker writes before the container starts."""
        config = self.ml / "input" / "config"
        config.mkdir(parents=True)
        channels = {
            one["ChannelName"]: {
                "TrainingInputMode": "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": "None",
            }
            for one in self.request["InputDataConfig"]
        }
        instance = self.request["ResourceConfig"]["InstanceType"]
        group = {"instance_group_name": "homogeneousCluster", "instance_type": instance, "hosts": ["algo-1"]}
        resources = {
            "current_host": "algo-1",
            "current_instance_type": instance,
            "current_group_name": "homogeneousCluster",
            "hosts": ["algo-1"],
            "instance_groups": [group],
            "network_interface_name": "eth0",
        }
        written = {"hyperparameters": hyperparameters, "inputdataconfig": channels, "resourceconfig": resources}
        for name, content in written.items():
            (config / f"{name}.json").write_text(json.dumps(content))
        for name in ("model", "checkpoints", "output"):
            (self.ml / name).mkdir(exist_ok=True)

    def start(self) -> None:
        """A new container, without a network: all that it needs is in the image and in its channels."""
        self.name = f"sluice-training-{uuid.uuid4().hex[:8]}"
        algorithm = self.request["AlgorithmSpecification"]
        (entrypoint,) = algorithm["ContainerEntrypoint"]
        variables = {**self.request["Environment"], "TRAINING_JOB_NAME": self.name, **self.environment}
        argv = ["run", "--detach", "--name", self.name, "--hostname", "algo-1", "--network", "none", "--shm-size", "1g"]
        argv += [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        argv += ["--volume", f"{self.ml}:/opt/ml", "--volume", f"{self.shared}:{self.shared}"]
        podman(*argv, "--entrypoint", entrypoint, self.image, *algorithm["ContainerArguments"])

    @property
    def running(self) -> bool:
        return podman("inspect", "--format", "{{.State.Running}}", self.name) == "true"

    def take_away(self) -> None:
        """As a spot machine is: SIGTERM, and SIGKILL for what is still there 120 seconds later."""
        podman("stop", "--time", str(GRACE), self.name)

    def kill(self) -> None:
        """As a machine that fails."""
        podman("kill", "--signal", "KILL", self.name)

    def end(self) -> tuple[int, str]:
        """Exit code and log of the container when it has ended; it is removed."""
        code = int(podman("wait", self.name))
        done = subprocess.run([*PODMAN, "logs", self.name], capture_output=True, text=True, check=False)
        podman("rm", "--force", self.name)
        return code, done.stdout + done.stderr

    def package(self, out: Path) -> Path:
        """What SageMaker uploads when the job has succeeded."""
        with tarfile.open(out, "w:gz") as archive:
            for path in sorted((self.ml / "model").iterdir()):
                archive.add(path, path.name)
        return out


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
