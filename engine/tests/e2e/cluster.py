"""Helpers for the tests in a cluster, the one of KUBECONFIG or the stub API server with its controllers."""

import base64
import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice import cli
from sluice.cluster import rollout_observer
from sluice.cluster.manifests import kubectl
from sluice.core.digests import digest_of_file
from sluice.core.processes import wait_until
from sluice.core.workspace import Workspace
from sluice.prompts import load_prompts
from sluice.release.manifest import FILE, Manifest, identified, load, load_judgement, verify
from sluice.release.verdict import JUDGEMENT, judged
from sluice.serving.api_keys import add_key
from starter_files import copy_starter

ROOT = Path(__file__).resolve().parents[3]
_RELEASE = "app.kubernetes.io/version"
_HASH = "rollouts-pod-template-hash"
Actions = Mapping[str, Callable[[], None]]


@dataclass(frozen=True)
class Ended:
    status: int
    said: str

    @property
    def weights(self) -> list[int]:
        return [int(weight) for weight in re.findall(r"weight: canary (\d+) %", self.said)]

    def stopped_by(self, judge: str) -> bool:
        return bool(re.search(rf"^  \S+: ({judge}): (Failed|Error)", self.said, re.MULTILINE))


class _Listener(io.TextIOBase):
    def __init__(self, actions: Actions) -> None:
        self.text, self._actions = "", dict(actions)

    def write(self, text: str) -> int:
        self.text += text
        for words in [one for one in self._actions if one in self.text]:
            self._actions.pop(words)()
        return len(text)


class Checkout:
    """A checkout in which the command line runs as in a terminal; `patience` is that of the watch."""

    def __init__(
        self, root: Path, patch: pytest.MonkeyPatch, environment: Mapping[str, str], **patience: float
    ) -> None:
        copy_starter(root, "k8s", "config")
        shutil.copytree(ROOT / "prompts", root / "prompts")
        shutil.copy(ROOT / "pyproject.toml", root)
        self.workspace = Workspace(root)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.delenv("SLUICE_ARTEFACTS", raising=False)  # a record elsewhere would say what was live before
        self.summary = root / "summary.md"
        patch.setenv("GITHUB_STEP_SUMMARY", str(self.summary))
        patch.chdir(root)
        patch.setattr(cli, "die_with_parent", lambda: None)
        patch.setattr(cli, "watch_parent", lambda: None)
        patch.setattr(signal, "signal", lambda *_: None)
        timeouts = partial(rollout_observer.WatchTimeouts, **patience)
        patch.setattr(rollout_observer, "WatchTimeouts", timeouts)
        self._patch = patch

    def sluice(self, *words: str, during: Actions) -> Ended:
        heard = _Listener(during)
        with self._patch.context() as patch, redirect_stdout(heard), redirect_stderr(heard):
            patch.setattr(sys, "argv", ["sluice", *words])
            status = cli.main()
        print(heard.text)
        return Ended(status, heard.text)


class Site:
    def __init__(self, checkout: Checkout, environment: str, image: str, load_image: str) -> None:
        self.checkout, self.environment = checkout, environment
        self.namespace = f"sluice-{environment}"
        self.images = (image, load_image)
        self.replicas = 1

    def write_overlay(self, fault: str = "") -> None:
        overlay: dict[str, Any] = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": self.namespace,
            "resources": ["../../base"],
            "components": [f"../../../engine/k8s/components/{name}" for name in ("artefacts-volume", "ingress-tls")],
            "configMapGenerator": [
                {"name": "sluice-place", "behavior": "merge", "literals": ["artefacts=/artefacts"]},
            ],
        }
        least = "/spec/strategy/canary/minPodsPerReplicaSet"
        changes: list[dict[str, Any]] = [{"op": "replace", "path": "/spec/replicas", "value": self.replicas}]
        changes.append({"op": "replace", "path": least, "value": 1})
        arguments = "/spec/template/spec/containers/0/args/-"
        changes += [{"op": "add", "path": arguments, "value": word} for word in (["--fault", fault] if fault else [])]
        host = [{"op": "replace", "path": "/spec/routes/0/match", "value": f"Host(`{self.environment}.example.com`)"}]
        overlay["patches"] = [
            {"target": {"kind": kind, "name": name}, "patch": yaml.safe_dump(patch)}
            for kind, name, patch in (("Rollout", "sluice", changes), ("IngressRoute", "sluice-tls", host))
        ]
        folder = self.checkout.workspace.root / "k8s" / "overlays" / self.environment
        folder.mkdir(exist_ok=True)
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))

    def deploy(
        self, release: Manifest, *words: str, fault: str = "", image: str = "", during: Actions | None = None
    ) -> Ended:
        self.write_overlay(fault)
        named = ["--release", release.id, "--image", image or self.images[0], "--load-image", self.images[1]]
        return self.sluice("deploy", *named, "--timeout", "40m", *words, during=during)

    def rollback(self, *words: str, during: Actions | None = None) -> Ended:
        return self.sluice("rollback", *words, during=during)

    def sluice(self, command: str, *words: str, during: Actions | None = None) -> Ended:
        return self.checkout.sluice(command, "--env", self.environment, *words, during=during or {})

    def kubectl(self, *words: str, given: Any = None) -> Any:
        done = subprocess.run(
            [kubectl(), *words], input=json.dumps(given) if given else None, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout

    def listed(self, what: str, group: str = "apps/v1") -> list[Any]:
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        return list(self.kubectl("get", "--raw", f"{root}/namespaces/{self.namespace}/{what}")["items"])

    @property
    def rollout(self) -> Any:
        (found,) = self.listed("rollouts", "argoproj.io/v1alpha1")
        return found

    def patch(self, body: Any) -> None:
        words = ["--type", "merge", "--patch", json.dumps(body)]
        self.kubectl("patch", "rollouts.argoproj.io", "sluice", "-n", self.namespace, *words)

    def live(self) -> str:
        stable = self.rollout["status"]["stableRS"]
        (found,) = (one for one in self.listed("replicasets") if one["metadata"]["labels"].get(_HASH) == stable)
        return str(found["spec"]["template"]["metadata"]["labels"][_RELEASE])

    def pods(self) -> list[Any]:
        own = ("app.kubernetes.io/name", "sluice")
        return [one for one in self.listed("pods", "v1") if own in one["metadata"].get("labels", {}).items()]

    def rest(self) -> None:
        """Until no other release than the live one has pods: the controller keeps those of before half a minute."""

        def alone() -> bool:
            live = self.live()  # a look at the Rollout, at which the controllers of the stub take a turn
            return {one["metadata"]["labels"][_RELEASE] for one in self.pods()} == {live}

        assert wait_until(alone, seconds=300, every=0.5)

    def routes(self) -> list[str]:
        """What Traefik matches requests by."""
        found = self.listed("ingressroutes", "traefik.io/v1alpha1")
        return [str(route["match"]) for one in found for route in one["spec"]["routes"]]

    def has_visitors(self) -> bool:
        return f"Host(`{self.environment}.example.com`)" in self.routes()

    def phase(self) -> str:
        return str(self.rollout["status"]["phase"])

    def make(self) -> None:
        keys = self.checkout.workspace.state / f"{self.environment}.json"
        key = add_key(keys, "load", tenant=None, scopes=("chat",), rate=100_000)
        named = {"sluice-keys": {"keys.json": keys.read_text()}, "sluice-load-key": {"key": key}}
        secrets = [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": self.namespace},
                "data": {entry: base64.b64encode(text.encode()).decode() for entry, text in data.items()},
            }
            for name, data in named.items()
        ]
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
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
    fields = before.document()
    fields["files"] = {name: digest_of_file(draft / name) for name in before.files}
    fields["prompts"] = {name: one.digest for name, one in load_prompts(draft / "prompts").items()}
    made = identified(fields)
    (draft / FILE).write_bytes(made.to_bytes())
    judgement = load_judgement(source).model_dump(mode="json")
    (draft / JUDGEMENT).write_bytes(judged({**judgement, "release": made.id}).to_bytes())
    verify(draft, made)
    draft.rename(releases / made.id)
    return made
