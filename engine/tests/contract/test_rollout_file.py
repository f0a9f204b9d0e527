from pathlib import Path
from typing import Any

import yaml

from sluice.core.settings import load_settings
from sluice.serving.api_keys import VARIABLE
from sluice.serving.settings import ServiceSettings
from starter_files import ROOT, STARTER

K8S = STARTER / "k8s"


def _read(name: str) -> Any:
    own = K8S / name
    return yaml.safe_load((own if own.exists() else ROOT / "engine" / "k8s" / name).read_text())


def test_the_canary_has_as_many_pods_as_its_visitors_need() -> None:
    steps = _read("base/rollout.yaml")["spec"]["strategy"]["canary"]["steps"]
    first = next(at for at, step in enumerate(steps) if "setWeight" in step)
    assert steps[0] == {"setCanaryScale": {"weight": steps[first]["setWeight"]}}, "without a pod nobody can be asked"
    assert steps[first + 1] == {"setCanaryScale": {"matchTrafficWeight": True}}, "it grows with its share of visitors"


def test_pods_read_their_keys_from_a_mounted_secret() -> None:
    pod = _read("base/rollout.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (volume,) = (one for one in pod["volumes"] if one["name"] == "keys")
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "keys")
    file = next(one["value"] for one in container["env"] if one["name"] == VARIABLE)
    assert Path(file).parent == Path(mount["mountPath"])
    assert "subPath" not in mount, "a file mounted by subPath never changes: a revoked key would stay in force"
    assert not volume["secret"].get("optional"), "without keys a pod must not start"


def test_a_pod_has_the_time_that_draining_takes() -> None:
    pod = _read("base/rollout.yaml")["spec"]["template"]["spec"]
    service = load_settings(STARTER / "config" / "service.yaml", ServiceSettings)
    notice = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    probe = pod["containers"][0]["readinessProbe"]["periodSeconds"]
    assert notice > probe, "an endpoint is gone at the latest after one more probe"
    assert pod["terminationGracePeriodSeconds"] >= notice + service.drain_seconds + 5


def test_no_step_of_a_canary_hangs_on_one_pod_and_probes_have_patience() -> None:
    """A drained node would stop a good release: at 10 % of three pods Argo Rollouts makes one (1.9.1,
    utils/replicaset/canary.go:357-365, 417-419)."""
    rollout = _read("base/rollout.yaml")
    canary = rollout["spec"]["strategy"]["canary"]
    assert canary["minPodsPerReplicaSet"] >= 2
    scales = [step["setCanaryScale"] for step in canary["steps"] if "setCanaryScale" in step]
    assert all(one.get("replicas", 2) >= 2 for one in scales), "a number of pods is taken as it is"
    (container,) = rollout["spec"]["template"]["spec"]["containers"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["timeoutSeconds"] >= 3, "Kubernetes waits for one second"
    assert rollout["spec"]["progressDeadlineAbort"] is True, "also where nobody watches"
