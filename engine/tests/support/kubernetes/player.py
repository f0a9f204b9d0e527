"""Plays what real controllers wrote, beside a stub API server: Argo Rollouts 1.9.1 and Kubernetes 1.34.

`recordings/*.json` are cut from recordings of a real control plane under `sluice deploy` and `sluice rollback`; each
says from which. A file is the story of one request: a list of looks, each with what was written between two looks at
the Rollout. What starts a story is what started it in the recording: another pod template, a pause or an abort by a
person, an abort that is taken back, `promoteFull`. A look at a Rollout, a Job or an analysis through the API plays the
next look, so whoever watches sees every state, and the half minutes of pauses are not waited for.

`rolled-back.json` is no recording: it follows the source that it names.

Hashes, revisions, generations and Jobs get the names that they have here, and numbers of pods are those of the one pod
of the recordings times `spec.replicas`. The recordings hold no pods: they follow from their ReplicaSets.
"""

import json
from datetime import timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from support.kubernetes.api_server import KubeApi
from support.kubernetes.field_ownership import copied
from support.kubernetes.marked_pods import JOB_LABEL, Nodes

Object = dict[str, Any]
HASH, RELEASE = "rollouts-pod-template-hash", "app.kubernetes.io/version"
REVISION, DEADLINE = "rollout.argoproj.io/revision", "scale-down-deadline"
_CONTROLLER = "rollouts-controller"
ROLLBACK = [{"setCanaryScale": {"weight": 100}}, {"setWeight": 100}]


@cache
def _recorded(name: str) -> Any:
    return json.loads((Path(__file__).with_name("recordings") / f"{name}.json").read_text())


class Player:
    """`fixed`: nothing more is played until something else is asked for. `holds`: a pause lasts until a person ends it.
    `short`: stable lacks a pod, and the weight of a stopped canary stays (rollout/trafficrouting.go:273).
    `deaf`: so many more patches and touches of a Rollout are lost on the controller (rollout/controller.go:464-499)."""

    def __init__(self, api: KubeApi, nodes: Nodes | None = None) -> None:
        self.api, self.nodes = api, nodes or Nodes()
        self.fixed = self.holds = self.short = False
        self.deaf = 0
        self._stages: dict[str, _Stage] = {}
        api.controllers = self.turn

    def turn(self) -> bool:
        """Play one look in each namespace; False if nothing is left."""
        with self.api.lock:
            moved = [self._in(one) for one in self.api.namespaces]
            return any(moved)

    def hurry(self, looks: int) -> None:
        self.api.controllers = lambda: all(self.turn() for _ in range(looks))

    def settle(self) -> None:
        for _ in range(100):
            if not self.turn():
                return
        raise AssertionError("it never comes to rest")

    def _in(self, namespace: str) -> bool:
        with self.api.inside(namespace):
            self.api.now += timedelta(seconds=1)
            return self._stages.setdefault(namespace, _Stage(self)).turn()


class _Stage:
    def __init__(self, player: Player) -> None:
        self.player, self.api = player, player.api
        self.looks: list[list[Object]] = []
        self.story, self.roles = "", dict[str, str]()
        self.spec: Object = {}
        self.status: Object = {}  # as it was last played
        self.heard: tuple[bool, Any] = (False, None)
        self.lost = False

    def turn(self) -> bool:
        moved = not self.player.fixed and (self._jobs() or self._runs())
        rollout = self.api.find("Rollout", "sluice")
        if rollout is None:
            return moved
        self._hear(rollout, rollout.get("status") or {})
        if self.player.fixed or (self.player.holds and self.status.get("pauseConditions")):
            return moved
        if not self.looks:
            self._rest(rollout)
        if not self.looks:
            return moved
        for row in self.looks.pop(0):
            text = json.dumps(row)
            for name, one in self.roles.items():
                text = text.replace(name, one)
            getattr(self, f"_play_{row['kind']}")(json.loads(text))
        self._pods()
        return True

    def _hear(self, rollout: Object, live: Object) -> None:
        asked = [name for name in ("abort", "promoteFull") if live.get(name) and not self.status.get(name)]
        back = self.status.get("abort") and not live.get("abort")
        event = (bool(live.get("abort")), (rollout["metadata"].get("annotations") or {}).get("sluice/touched"))
        if event != self.heard:
            self.heard, self.lost = event, self.player.deaf > 0
            self.player.deaf -= self.lost
        if self.lost:
            return
        if "promoteFull" in asked:
            self._begin("promoted-in-full", rollout, live)
        elif asked:
            if digest(rollout) == self.status.get("currentPodHash"):
                self.spec = copied(rollout["spec"])  # a pause by a person is nothing beside it
            self._begin("aborted", rollout, live)
        elif rollout["spec"] != self.spec or (self.story == "refused" and not self._missing(rollout)):
            before, self.spec = self.spec, copied(rollout["spec"])
            self._begin(self._story_of(rollout, live, before), rollout, live)
        elif back:
            failing = "quality" in self.player.nodes.verdicts
            self._begin("retried-stopped-by-quality" if failing else "retried", rollout, live)
        elif not live.get("pauseConditions"):
            self.status.pop("pauseConditions", None)  # a person went on

    def _story_of(self, rollout: Object, live: Object, before: Object) -> str:
        new, stable, current = digest(rollout), live.get("stableRS", ""), live.get("currentPodHash", "")
        nodes, spec = self.player.nodes, rollout["spec"]
        release = spec["template"]["metadata"]["labels"][RELEASE]
        if self._missing(rollout):
            return "refused"
        if spec.get("paused"):
            return "paused-by-a-person"
        if not stable:
            return "first-never-ready" if release in nodes.dead else "first"
        if new == stable:
            return "back-to-stable"
        if new == current and before:
            return ""  # of its pods or their number something changed, and not of the release
        if current != stable and not live.get("abort"):
            return "over-another"
        if spec["strategy"].get("canary", {}).get("steps") == ROLLBACK:
            return "rolled-back"
        image = spec["template"]["spec"]["containers"][0]["image"]
        if image.partition("@")[0].endswith("absent") or release in {*nodes.dead, *nodes.waiting}:
            return "deadline-abort" if spec.get("progressDeadlineAbort") else "unpullable"
        if self.api.all("ResourceQuota"):
            return "quota"
        if "Inconclusive" in nodes.verdicts.values():
            return "inconclusive"
        failing = [name for name in ("quality", "load") if name in nodes.verdicts]
        return f"stopped-by-{failing[0]}" if failing else "promoted"

    def _missing(self, rollout: Object) -> str:
        steps = rollout["spec"]["strategy"].get("canary", {}).get("steps") or ()
        names = [ref["templateName"] for step in steps for ref in step.get("analysis", {}).get("templates", ())]
        return next((one for one in names if self.api.find("AnalysisTemplate", one) is None), "")

    def _begin(self, story: str, rollout: Object, live: Object) -> None:
        new, generation = digest(rollout), str(rollout["metadata"]["generation"])
        self.story, self.player.fixed = story, False
        number = self._number(rollout, new) if story != "refused" else ""
        stable = live.get("stableRS", "")
        self.roles = {"<new>": new, "<stable>": stable, "<generation>": generation, "<revision>": number}
        self.roles["<why>"] = f"spec.strategy.canary.steps: AnalysisTemplate '{self._missing(rollout)}' not found"
        # The status of before is published under the new generation (recorded: replicas-lowered, and
        # new-after-stop-in-pause-flapping), so that whoever goes by observedGeneration alone is misled.
        first = [{"kind": "Rollout", "status": {**self.status, "observedGeneration": generation}}]
        recorded = copied(_recorded(story)["looks"]) if story else []
        if story == "back-to-stable":  # what is new is stable, and its Service follows (rollout/service.go:283)
            recorded[0].append({"kind": "Service", "name": "sluice-canary", "selects": "<stable>"})
        if story == "paused-by-a-person":  # nothing else moves, wherever it was
            said = {key: recorded[0][0]["status"][key] for key in ("phase", "message", "observedGeneration")}
            recorded[0][0]["status"] = {**self.status, **said}
        self.looks = [*([first] if stable and live.get("observedGeneration") != generation else []), *recorded]

    def _number(self, rollout: Object, new: str) -> str:
        sets = {_hash(one): one for one in self.api.all("ReplicaSet")}
        numbers = {key: int(one["metadata"]["annotations"][REVISION]) for key, one in sets.items()}
        number = str(max([one for key, one in numbers.items() if key != new], default=0) + 1)
        number = str(max(int(number), numbers.get(new, 0)))
        if new in sets:
            sets[new]["metadata"]["annotations"][REVISION] = number
            self.api.write(sets[new], _CONTROLLER)
        else:
            template = copied(rollout["spec"]["template"])
            template["metadata"]["labels"][HASH] = new
            metadata = {"name": f"sluice-{new}", "labels": template["metadata"]["labels"], **_owned_by(rollout)}
            made = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "status": {"replicas": 0}}
            metadata["annotations"] = {REVISION: number}
            self.api.write({**made, "spec": {"replicas": 0, "template": template}}, _CONTROLLER)
        live = self.api.find("Rollout", "sluice") or rollout
        live["metadata"].setdefault("annotations", {})[REVISION] = number
        self.api.write(live, _CONTROLLER)
        return number

    def _rest(self, rollout: Object) -> None:
        stable = self.status.get("stableRS", "")
        for one in self.api.all("ReplicaSet"):
            up, own = one["status"].get("availableReplicas"), _hash(one) == stable
            if own and up and one["metadata"]["labels"][RELEASE] in self.player.nodes.dead:
                self.looks = copied(_recorded("dead-stable")["looks"])
            elif one["status"].get("replicas") and not own and self._leaves(one):
                self.looks = copied(_recorded("pods-of-before-gone")["looks"])
            else:
                continue
            generation = str(rollout["metadata"]["generation"])
            self.roles = {"<new>": _hash(one), "<stable>": stable, "<generation>": generation, "<revision>": ""}
            return

    def _leaves(self, one: Object) -> bool:
        return DEADLINE in one["metadata"]["annotations"] or _hash(one) != self.status.get("currentPodHash")

    def _play_Rollout(self, row: Object) -> None:  # noqa: N802 - of a kind
        if self.player.short and row["status"].get("abort"):
            row["status"]["canary"] = self.status["canary"]
        self.status = row["status"]
        live = self.api.find("Rollout", "sluice")
        self.api.write({**(live or {}), "status": row["status"]}, _CONTROLLER)

    def _play_ReplicaSet(self, row: Object) -> None:  # noqa: N802
        live = self.api.find("ReplicaSet", row["name"])
        assert live is not None
        times = int(self.spec.get("replicas", 1))
        live["spec"]["replicas"] = row["replicas"] * times
        live["status"] = {k: one * times if isinstance(one, int) else one for k, one in row["status"].items()}
        live["metadata"]["annotations"].pop(DEADLINE, None)
        live["metadata"]["annotations"] |= {DEADLINE: row["deadline"]} if "deadline" in row else {}
        self.api.write(live, _CONTROLLER)

    def _play_AnalysisRun(self, row: Object) -> None:  # noqa: N802
        rollout = self.api.find("Rollout", "sluice")
        assert rollout is not None
        labels = {HASH: self.roles["<new>"], "rollout-type": "Step", "step-index": row["step"]}
        run = self.api.find("AnalysisRun", row["name"]) or {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AnalysisRun",
            "metadata": {"name": row["name"], "labels": labels, **_owned_by(rollout)},
            "spec": {"metrics": row["metrics"]},
        }
        self._measure(run, row["status"])

    def _play_Service(self, row: Object) -> None:  # noqa: N802
        if live := self.api.find("Service", row["name"]):
            live["spec"].setdefault("selector", {})[HASH] = row["selects"]
            self.api.write(live, _CONTROLLER)

    def _play_TraefikService(self, row: Object) -> None:  # noqa: N802
        stuck = self.player.short and self.status.get("abort")
        if (live := self.api.find("TraefikService", "sluice")) and "weighted" in live["spec"] and not stuck:
            for one in live["spec"]["weighted"]["services"]:
                one["weight"] = row["weights"][one["name"]]
            self.api.write(live, _CONTROLLER)

    def _runs(self) -> bool:
        """Play AnalysisRuns that `sluice deploy` has made, one after the other (recorded: first-is-judged)."""
        for run in self.api.all("AnalysisRun"):
            phase = (run.get("status") or {}).get("phase", "")
            if phase in ("", "Running") and "rollout-type" not in run["metadata"].get("labels", {}):
                verdicts = self.player.nodes.verdicts
                names = [one["name"] for one in run["spec"]["metrics"]]
                bad = [one for one in names if one in verdicts]
                ends = {one: "Running" if not phase else "Failed" if one in bad else "Successful" for one in names}
                found = _status("Running" if not phase else "Failed" if bad else "Successful", (bad or names)[0])
                results = [_status(ends[one], one)["metricResults"][0] for one in names]
                self._measure(run, {**found, "metricResults": results})
                return True
        return False

    def _measure(self, run: Object, status: Object) -> None:
        uid = f"uid-{run['metadata']['name']}"
        status = json.loads(json.dumps(status).replace("<uid>", uid))
        self.api.write({**run, "status": status}, _CONTROLLER)
        for result in status["metricResults"]:
            job, log = f"{uid}.{result['name']}.1", self.player.nodes.logs.get(result["name"])
            if log is not None:
                pod = {"name": f"{job}-0", "labels": {JOB_LABEL: job}}
                made = {"apiVersion": "v1", "kind": "Pod", "metadata": pod, "spec": {}, "status": {"phase": "Failed"}}
                self.api.write(made, "kubelet")
                self.api.logs[pod["name"]] = log

    def _jobs(self) -> bool:
        for job in self.api.all("Job"):
            if not (job.get("status") or {}).get("conditions"):
                ends = {"type": self.player.nodes.job_ends(job), "status": "True", "message": ""}
                self.api.write({**job, "status": {"conditions": [ends]}}, "kube-controller-manager")
                return True
        return False

    def _pods(self) -> None:
        for one in self.api.all("ReplicaSet"):
            wanted, ready = (int(one["status"].get(key, 0)) for key in ("replicas", "availableReplicas"))
            for number in range(max(wanted, 9)):
                name = f"{one['metadata']['name']}-{number}"
                pod = self.api.find("Pod", name)
                if number >= wanted:
                    if pod:
                        self.api.delete("Pod", name)
                    continue
                template = one["spec"]["template"]
                made = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]}
                made["metadata"] = {"name": name, "labels": template["metadata"]["labels"]}
                status = self.player.nodes.pod_status(made)
                if number >= ready and status["conditions"][0]["status"] == "True":
                    status = {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]}
                self.api.write({**(pod or made), "status": status}, "kubelet")


def _status(phase: str, metric: str) -> Object:
    text = json.dumps(_recorded("analysis-run")[phase])
    return dict(json.loads(text.replace("<metric>", metric)))


def digest(rollout: Object) -> str:
    return sha256(json.dumps(rollout["spec"]["template"], sort_keys=True).encode()).hexdigest()[:10]


def _hash(replica_set: Object) -> str:
    return str(replica_set["metadata"]["labels"][HASH])


def _owned_by(rollout: Object) -> Object:
    about = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "controller": True}
    return {"ownerReferences": [{**about, "name": "sluice", "uid": rollout["metadata"]["uid"]}]}
