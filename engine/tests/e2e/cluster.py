"""Releases in a cluster, for the tests of it: an overlay of its own, variants of one release, and `sluice deploy`.

A cluster is the one of KUBECONFIG, or the stub API server that plays what controllers would write.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sluice.cluster.manifests import kubectl
from sluice.core.digests import digest_of_file
from sluice.core.workspace import Workspace
from sluice.prompts import load_prompts
from sluice.release.manifest import FILE, Manifest, identified, load, verify
from sluice.serving.api_keys import add_key
from starter_files import copy_starter
from support.kubernetes.api_server import KubeApi

ROOT = Path(__file__).resolve().parents[3]
SLUICE = Path(sys.executable).with_name("sluice")
NAMESPACE = "sluice-e2e"
ROLLOUT = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/rollouts/sluice"
_RELEASE = "app.kubernetes.io/version"
_HASH = "rollouts-pod-template-hash"


@dataclass(frozen=True)
class Ended:
    """How a command ended, and all that it said."""

    status: int
    said: str

    @property
    def weights(self) -> list[int]:
        """Percent of the canary, in the order in which they were shown."""
        return [int(weight) for weight in re.findall(r"weight: canary (\d+) %", self.said)]


class Site:
    """A checkout with k8s/ and releases, whose overlay `e2e` is the base with a volume of artefacts and one pod."""

    def __init__(self, root: Path, image: str, load_image: str, environment: Mapping[str, str]) -> None:
        copy_starter(root, "k8s", "config")
        shutil.copytree(ROOT / "prompts", root / "prompts")
        shutil.copy(ROOT / "pyproject.toml", root)
        self.workspace = Workspace(root)
        self._images = (image, load_image)
        path = os.pathsep.join([str(ROOT / "engine" / "src"), str(ROOT / "engine" / "tests")])
        self._environment = {**os.environ, **environment, "PYTHONPATH": path}
        self._environment.pop("GITHUB_STEP_SUMMARY", None)
        self.set_fault("")

    def set_fault(self, fault: str) -> None:
        """What `--fault` the pods of the next deployment are started with; empty for none."""
        overlay: dict[str, Any] = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": NAMESPACE,
            "resources": ["../../base"],
            "components": ["../../../engine/k8s/components/artefacts-volume"],
            "configMapGenerator": [
                {"name": "sluice-place", "behavior": "merge", "literals": ["artefacts=/artefacts"]},
            ],
        }
        changes: list[dict[str, Any]] = [{"op": "replace", "path": "/spec/replicas", "value": 1}]
        arguments = "/spec/template/spec/containers/0/args/-"
        changes += [{"op": "add", "path": arguments, "value": word} for word in (["--fault", fault] if fault else [])]
        overlay["patches"] = [{"target": {"kind": "Rollout", "name": "sluice"}, "patch": yaml.safe_dump(changes)}]
        folder = self.workspace.root / "k8s" / "overlays" / "e2e"
        folder.mkdir(exist_ok=True)
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))

    def deploy(self, release: Manifest, *, fault: str = "") -> Ended:
        self.set_fault(fault)
        image, load_image = self._images
        words = ["--release", release.id, "--image", image, "--load-image", load_image, "--timeout", "40m"]
        return self.sluice("deploy", "--env", "e2e", *words)

    def rollback(self, *words: str) -> Ended:
        return self.sluice("rollback", "--env", "e2e", *words)

    def sluice(self, *words: str) -> Ended:
        done = subprocess.run(
            [str(SLUICE), *words],
            cwd=self.workspace.root,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3000,
        )
        print(done.stdout)
        return Ended(done.returncode, done.stdout)

    def kubectl(self, *words: str, given: Any = None) -> Any:
        """What it writes, read as JSON where it is."""
        done = subprocess.run(
            [kubectl(), *words],
            input=json.dumps(given) if given else None,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout

    def live(self) -> str:
        """The release that stable is, as the cluster has it."""
        status = self.kubectl("get", "--raw", ROLLOUT)["status"]
        sets = self.kubectl("get", "--raw", f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets")["items"]
        (found,) = (one for one in sets if one["metadata"]["labels"].get(_HASH) == status["stableRS"])
        return str(found["spec"]["template"]["metadata"]["labels"][_RELEASE])

    def phase(self) -> str:
        return str(self.kubectl("get", "--raw", ROLLOUT)["status"]["phase"])

    def give_keys(self) -> None:
        """The namespace and the Secrets that pods do not start without."""
        keys = self.workspace.state / "keys.json"
        key = add_key(keys, "load", tenant=None, scopes=("chat",), rate=100_000)
        named = {"sluice-keys": {"keys.json": keys.read_text()}, "sluice-load-key": {"key": key}}
        secrets = [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "data": {entry: base64.b64encode(text.encode()).decode() for entry, text in data.items()},
            }
            for name, data in named.items()
        ]
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        for document in (namespace, *secrets):
            self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=document)


def variant(source: Path, releases: Path, edit: Callable[[dict[str, Any]], None]) -> Manifest:
    """A release like the one in `source`, with another prompt `answer`, in the folder `releases`."""
    draft = releases / "draft"
    releases.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, draft)
    path = draft / "prompts" / "answer.prompt.yml"
    prompt = yaml.safe_load(path.read_text())
    edit(prompt)
    path.write_text(yaml.safe_dump(prompt, sort_keys=False))
    before = load(source)
    fields = before.model_dump(mode="json", exclude={"id"})
    fields["files"] = {name: digest_of_file(draft / name) for name in before.files}
    fields["prompts"] = {name: one.digest for name, one in load_prompts(draft / "prompts").items()}
    made = identified(fields)
    (draft / FILE).write_bytes(made.to_bytes())
    verify(draft, made)
    draft.rename(releases / made.id)
    return made


class Controllers:
    """What Argo Rollouts would do in the stub: it plays a recording for the next deployment."""

    def __init__(self, api: KubeApi, recordings: Path) -> None:
        self._api, self._recordings = api, recordings
        self.count = 0
        self._stable = ""

    def expect(self, ending: str, metric: str = "ttft-p95") -> None:
        """The next deployment ends as the recording `ending`, by `metric` where that stops it."""
        self.count += 1
        new, old = f"hash{self.count}", self._stable or "none"
        text = (self._recordings / f"{ending}.yaml").read_text().replace("ttft-p95", metric)
        text = re.sub(r"\bnew\b", new, re.sub(r"\bold\b", old, text))
        recording = yaml.safe_load(text)
        recording["events"] = [one for one in recording["events"] if not (isinstance(one, dict) and "gone" in one)]
        self._api.recording = recording
        if ending in ("first", "promoted"):
            self._stable = new

    def expect_back(self, to: str) -> None:
        """The next rollback ends with the ReplicaSet of the release `to` as stable."""
        sets = [one for path, one in self._api.objects.items() if "/replicasets/" in path]
        (found,) = (one for one in sets if one["metadata"]["labels"][_RELEASE] == to)
        self._stable = found["metadata"]["labels"][_HASH]
        status = {"phase": "Healthy", "currentPodHash": self._stable, "stableRS": self._stable}
        self._api.recording = {"events": [{"rollout": status}]}
