"""SageMaker's side of a training container, by podman.

Files of /opt/ml/input/config, a folder for each channel, the folder of checkpoints, and SIGTERM and 120 seconds
later SIGKILL are those of AWS's guide ("How Amazon SageMaker AI Provides Training
Information", "Runs Your Training Image", "Checkpoints"). Command and environment are
those of the definition that the SDK made, and `code` and `sm_drivers` what it uploaded.
"""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from image.containers import PODMAN, podman

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
        """Write SageMaker's files, before the container starts."""
        config = self.ml / "input" / "config"
        config.mkdir(parents=True)
        how = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
        channels = {one["ChannelName"]: how for one in self.request["InputDataConfig"]}
        group, hosts = "homogeneousCluster", ["algo-1"]
        instance = self.request["ResourceConfig"]["InstanceType"]
        resources = {
            "current_host": "algo-1",
            "current_instance_type": instance,
            "current_group_name": group,
            "hosts": hosts,
            "instance_groups": [{"instance_group_name": group, "instance_type": instance, "hosts": hosts}],
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

    def end(self) -> tuple[int, str]:
        """Wait for the end, remove the container, and return its exit code and log."""
        code = int(podman("wait", self.name))
        done = subprocess.run([*PODMAN, "logs", self.name], capture_output=True, text=True, check=False)
        podman("rm", "--force", self.name)
        return code, done.stdout + done.stderr
