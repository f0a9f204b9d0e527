"""Containers as a cluster runs them, and what an image holds by its bill of materials, for the tests of the images."""

import json
import re
import resource
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from sluice.core.processes import free_port, wait_until
from sluice.extras.image.container_image import BuiltImage
from sluice.serving.api_keys import add_key
from support.kubernetes import argo_metric
from support.placed_release import Placed

# crun, podman's first choice, refuses the cgroups of some machines; runc takes them.
PODMAN = ["podman", *(["--runtime", "runc"] if shutil.which("runc") else [])]
# As the pod's security context has it: k8s/base/rollout.yaml.
RESTRICTED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host"]


def podman(*words: str) -> str:
    done = subprocess.run([*PODMAN, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"podman {' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def isolation() -> list[str]:
    """Options with which a build works inside a container and without root too."""
    limits = (("nofile", resource.RLIMIT_NOFILE, 20000), ("nproc", resource.RLIMIT_NPROC, 90000))
    words = ["--isolation", "chroot"]
    for name, number, most in limits:
        hard = resource.getrlimit(number)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        words += ["--ulimit", f"{name}={value}:{value}"]
    return words


@contextmanager
def damaged(placed: Placed, digest: str) -> Iterator[None]:
    """Change a file that lies in the place, for the block."""
    blob = placed.place / "sha256" / digest
    content = blob.read_bytes()
    try:
        blob.write_bytes(content[:-1] + b"!")
        yield
    finally:
        blob.write_bytes(content)


class Pod:
    """Containers that share the volumes of one pod: the release, the models, the state."""

    def __init__(self, image: BuiltImage, folder: Path) -> None:
        self._image = image.id
        self._folder = folder
        self._name = f"sluice-test-{uuid.uuid4().hex[:8]}"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = add_key(folder / "keys.json", "test", tenant=None, scopes=("chat",), rate=600)
        # The cluster's Secret belongs to the pod's group; here it is another user's.
        (folder / "keys.json").chmod(0o644)

    def _mounts(self, writable: bool) -> list[str]:
        mode = ":U" if writable else ":ro"  # U: they belong to the container's user, as a pod's fsGroup has it
        names = ("release", "models")
        return [word for name in names for word in ("--volume", f"{self._name}-{name}:/{name}{mode}")]

    def init(self, place: Path, *words: str, entrypoint: str = "") -> subprocess.CompletedProcess[str]:
        """A container that may write the release and the models, as the init container may."""
        argv = [*PODMAN, "run", "--rm", *RESTRICTED, "--tmpfs=/tmp", *self._mounts(True)]
        argv += ["--volume", f"{place}:/place:ro", *(["--entrypoint", entrypoint] if entrypoint else [])]
        return subprocess.run([*argv, self._image, *words], capture_output=True, text=True, check=False, timeout=300)

    def fetch(self, placed: Placed) -> subprocess.CompletedProcess[str]:
        digest = f"sha256:{placed.moved.digest}"
        return self.init(placed.place, "release", "fetch", digest, "--from", "/place")

    def start(self) -> None:
        """The service, with nothing to write to but its state and /tmp."""
        argv = [*PODMAN, "run", "--detach", "--name", self._name, *RESTRICTED, "--memory=1g", *self._mounts(False)]
        argv += [
            "--tmpfs=/tmp",
            "--tmpfs=/app/.sluice:mode=1777",
            "--volume",
            f"{self._folder}/keys.json:/keys.json:ro",
        ]
        argv += ["--env", "SLUICE_KEYS_FILE=/keys.json", self._image]
        argv += ["serve", "--release", "/release", "--host", "0.0.0.0", "--port", str(self.port)]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)

    def status(self, path: str) -> int:
        try:
            return httpx.get(self.url + path, timeout=2, trust_env=False).status_code
        except httpx.HTTPError:
            return 0

    def ready(self, seconds: float = 120) -> bool:
        return wait_until(lambda: self.status("/readyz") == 200 or not self.running, seconds=seconds) and self.running

    def ask(self, question: str) -> httpx.Response:
        body = {"model": "sluice", "messages": [{"role": "user", "content": question}], "max_tokens": 60}
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=90, trust_env=False)

    def execute(self, code: str) -> str:
        """What a Python program prints that runs in the service's container."""
        return podman("exec", self._name, "python", "-c", code)

    @property
    def running(self) -> bool:
        return podman("inspect", "--format", "{{.State.Running}}", self._name) == "true"

    def terminate(self) -> None:
        podman("kill", "--signal=TERM", self._name)

    def wait(self) -> int:
        return int(podman("wait", self._name))

    def log(self) -> str:
        done = subprocess.run([*PODMAN, "logs", self._name], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def close(self) -> None:
        subprocess.run([*PODMAN, "rm", "--force", self._name], check=False, capture_output=True)
        volumes = [f"{self._name}-{name}" for name in ("release", "models")]
        subprocess.run([*PODMAN, "volume", "rm", "--force", *volumes], check=False, capture_output=True)


class Job:
    """The Job of an AnalysisTemplate of k8s/: its init container and its container, as its own manifest has them.

    `arguments` replace the template's defaults; `key` is what the Secret holds."""

    def __init__(
        self, image: BuiltImage, template: Path, arguments: Mapping[str, str], placed: Placed, key: str = ""
    ) -> None:
        document = yaml.safe_load(template.read_text())
        (metric,) = argo_metric.resolve(document["spec"]["metrics"], {**argo_metric.defaults(document), **arguments})
        self._pod = metric["provider"]["job"]["spec"]["template"]["spec"]
        self._image = image.id
        self._name = f"sluice-test-{uuid.uuid4().hex[:8]}"
        self._placed = placed
        self._told = {"artefacts": "/place", "key": key}

    def run(self) -> subprocess.CompletedProcess[str]:
        """The init container, and the container if that succeeded."""
        done = self._run(self._pod["initContainers"][0])
        return self._run(self._pod["containers"][0]) if done.returncode == 0 else done

    def _run(self, container: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        user = self._pod["securityContext"]
        argv = [*PODMAN, "run", "--rm", *RESTRICTED, f"--user={user['runAsUser']}:{user['runAsGroup']}"]
        argv += [f"--memory={container['resources']['limits']['memory'].removesuffix('i').lower()}"]
        argv += [f"--volume={self._placed.place}:/place:ro", *map(self._mount, container["volumeMounts"])]
        for variable in container["env"]:
            source = variable.get("valueFrom", {})
            value = variable.get("value") or self._told[next(iter(source.values()))["key"]]
            argv += ["--env", f"{variable['name']}={value}"]
        if "workingDir" in container:
            argv += ["--workdir", container["workingDir"]]
        entrypoint, *words = (*container.get("command", ["sluice"]), *container["args"])
        argv += ["--entrypoint", entrypoint, self._image, *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)

    def _mount(self, mount: Mapping[str, Any]) -> str:
        path, mode = mount["mountPath"], "ro" if mount.get("readOnly") else "U"  # U: as for a pod's fsGroup
        match mount["name"]:
            case "tmp":
                return f"--tmpfs={path}"
            case "manifest":
                return f"--volume={self._placed.manifest}:{path}:{mode}"
            case name:
                return f"--volume={self._name}-{name}:{path}:{mode}"

    def close(self) -> None:
        subprocess.run([*PODMAN, "volume", "rm", "--force", f"{self._name}-release"], check=False, capture_output=True)


ROOT = Path(__file__).resolve().parents[3]
DISTRIBUTIONS = "import importlib.metadata as m; print(*sorted(d.name + '==' + d.version for d in m.distributions()))"


def installed(image: BuiltImage) -> dict[str, str]:
    """Name -> version of every distribution but our own; they are those that the SBOM lists."""
    document = json.loads(image.sbom.read_text())
    listed = {normal(component["name"]): component["version"] for component in document["components"]}
    said = podman("run", "--rm", "--network=none", "--entrypoint=python", image.id, "-c", DISTRIBUTIONS)
    found = {normal(name): version for name, version in (word.split("==") for word in said.split())}
    found.pop("sluice")
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "sluice"
    assert listed == found
    return found


def locked(lock: str) -> dict[str, str]:
    text = (ROOT / "engine" / "requirements" / lock).read_text()
    return {normal(name): version for name, version in re.findall(r"^([\w.-]+)(?:\[[^]]+\])?==([^\s;]+)", text, re.M)}


def normal(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
